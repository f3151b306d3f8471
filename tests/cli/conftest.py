"""A folder with items, and commands over fake and real engines."""

from __future__ import annotations

import json
import os
import shlex
from unittest import mock

import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations.cli import main
from jina_vllm_integrations.engines import in_process, vllm_runtime
from jina_vllm_integrations.testing import FakeEngine


@pytest.fixture(autouse=True)
def same_environment():
    """Undo what a command sets in this process's environment."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the working directory, with texts and pictures in ``in`` and below it."""
    monkeypatch.chdir(tmp_path)
    deeper = tmp_path / "in" / "deeper"
    deeper.mkdir(parents=True)
    (tmp_path / "in" / "b.txt").write_text("Guten Tag\n\nおはよう\n", encoding="utf-8")
    Image.new("RGB", (60, 40), "red").save(tmp_path / "in" / "c.png")
    Image.new("RGB", (40, 60), "blue").save(deeper / "a.jpg")
    (deeper / "z.md").write_text("# Überschrift", encoding="utf-8")
    return tmp_path


@pytest.fixture
def no_start(monkeypatch):
    """Make every start of a vLLM an error of the test."""

    def start(*_):
        pytest.fail("a vLLM was started")

    monkeypatch.setattr(vllm_runtime.VLLMRuntime, "_start", start)


@pytest.fixture
def embed(checkpoint, no_start):
    """Return a function that runs ``embed`` on a checkpoint that needs no start of a vLLM."""

    def run(arguments, *, task="retrieval", role="document"):
        chosen = ["--model", str(checkpoint), "--task", task, "--role", role]
        options = [f"--engine-option={name}={json.dumps(value)}" for name, value in ENGINE_OPTIONS.items()]
        return main(["embed", *shlex.split(arguments), *chosen, *options])

    return run


@pytest.fixture
def fake(monkeypatch):
    """Put a fake engine in vLLM's place and return the options that it was given."""
    given = {}

    def make(model, **options):
        given.update(options, model=model)
        return FakeEngine()

    monkeypatch.setattr(in_process, "InProcessEngine", make)
    return given
