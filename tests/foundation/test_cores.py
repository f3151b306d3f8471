"""How many cores are used where a container allows fewer than there are."""

from __future__ import annotations

import os

import pytest

from jina_vllm_integrations.engines.rendering.pool import processes_by_default
from jina_vllm_integrations.foundation import cores


@pytest.fixture
def container(monkeypatch, tmp_path):
    """Return a folder for the files of a container's control group, on a machine of 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(cores, "_CONTROL_GROUPS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000\n", 16), ("600000 100000\n", 6), ("250000 100000\n", 3), ("5000 100000\n", 1)]
)
def test_the_quota_of_a_container(container, limit, expected):
    """As `docker run --cpus` and Kubernetes write it: a part of a core counts as one."""
    (container / "cpu.max").write_text(limit)
    assert cores.available_cores() == expected


@pytest.mark.parametrize(("limit", "expected"), [("-1\n", 16), ("400000\n", 4)])
def test_the_quota_of_an_older_kernel(container, limit, expected):
    """Version 1 of control groups has a file for each number."""
    (container / "cpu").mkdir()
    (container / "cpu" / "cpu.cfs_quota_us").write_text(limit)
    (container / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.available_cores() == expected


def test_a_quota_does_not_add_cores(container):
    """One that is larger than the machine means all of it; so does none."""
    assert cores.available_cores() == 16
    (container / "cpu.max").write_text("6400000 100000\n")
    assert cores.available_cores() == 16


def test_render_processes_keep_to_the_quota(container):
    """A container of four cores gets one, whatever its host has."""
    assert processes_by_default() == 8
    (container / "cpu.max").write_text("400000 100000\n")
    assert processes_by_default() == 1
