"""What MaxSim compiles, kept for other processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCORING = """
import logging, resource
import numpy as np
from jina_vllm_integrations.scoring import score
{before}
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
document = np.eye(3, 8, dtype="{dtype}")
print(score(np.eye(2, 8, dtype="float32"), [document]))
"""
NO_ROOM = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
NO_FOLDER = "from numba.core.caching import CacheImpl; CacheImpl._locator_classes = []"


@pytest.fixture
def scored_by(tmp_path):
    """Return a function that scores in a fresh process with a cache of its own, and returns what it says."""

    def scored(dtype="float16", before=""):
        script = SCORING.format(dtype=dtype, before=before)
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
        ended = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert ended.stdout == "[2.]\n"
        return ended.stderr

    return scored


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_second_process_compiles_nothing(scored_by, tmp_path, dtype):
    """What the first process compiled is found by the second, which adds nothing to it."""
    scored_by(dtype)
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nb?")}
    scored_by(dtype)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nb?")} == kept
    assert len(list(tmp_path.rglob("*.nbc"))) == 1


def test_without_room_for_it_scores_are_the_same(scored_by, tmp_path):
    """A full disk costs each process the compiling, and a warning says so."""
    assert "WARNING each process compiles MaxSim anew" in scored_by(before=NO_ROOM)
    assert not list(tmp_path.rglob("*.nbc"))


def test_without_a_folder_for_it_scores_are_the_same(scored_by):
    """An installation that cannot be written, for a user without a home, works."""
    assert "INFO each process compiles MaxSim anew" in scored_by(before=NO_FOLDER)
