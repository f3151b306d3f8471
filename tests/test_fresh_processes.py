"""What a user starts from a shell: the demo, the training of its model, scripts with an engine.

All of it runs at once, two at a time, as importing vLLM keeps one core busy for most of their time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import psutil
import pytest
from search_sets import SET_NAMES

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import prepare
from jina_vllm_integrations.demo import demo_checkpoint, demo_corpus

pytestmark = pytest.mark.demo

TRAINING = Path(__file__).parent.parent / "examples" / "demo_model" / "train.py"
SECONDS = 300
SCRIPT = """
import psutil
from jina_vllm_integrations import InProcessEngine, JinaEncoder

if {condition}:
    engine = InProcessEngine({checkpoint!r}, **{options!r})
    print(JinaEncoder(engine, task="retrieval").embed(["a"], role="query").shape)
    print(*(child.pid for child in psutil.Process().children(recursive=True)))
"""


def run(command, **options):
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **options)


def run_demo(folder):
    """Run the demo with a cache of its own and none of the settings of these tests."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VLLM_", "TORCH_"))}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    return run([Path(sys.executable).with_name("jina-vllm"), "demo"], env=environment, cwd=folder)


def run_training(folder):
    """Train for two steps on two documents, and stop after the first one."""
    options = ["--batch", "2", "--device", "cpu", "--workers", "0", "--every", "1", "--validation-size", "2"]
    command = [sys.executable, TRAINING, folder / "repo", "--state", folder / "state.pt", *options]
    return [run([*command, "--steps", str(steps)]) for steps in (1, 2)]


def run_script(folder, condition, checkpoint):
    """Run a script that embeds a text where a condition holds, and never closes its engine."""
    file = folder / "script.py"
    file.write_text(SCRIPT.format(condition=condition, checkpoint=str(checkpoint), options=ENGINE_OPTIONS))
    return run([sys.executable, file])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a maker of folders, one for each name."""
    root = tmp_path_factory.mktemp("fresh")

    def folder(name):
        (root / name).mkdir(exist_ok=True)
        return root / name

    return folder


@pytest.fixture(scope="module")
def running(checkpoint, folder):
    """Start everything, the longest first, and return futures of what becomes of it."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            "demo": pool.submit(run_demo, folder("demo")),
            "guarded": pool.submit(run_script, folder("guarded"), "__name__ == '__main__'", checkpoint),
            "unguarded": pool.submit(run_script, folder("unguarded"), "True", checkpoint),
            "training": pool.submit(run_training, folder("training")),
        }


def columns(text):
    """Return how many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def test_every_query_would_fit_a_terminal():
    """Indented by two, it stays within 80 columns, of which a Japanese character takes two."""
    assert max(columns(f"  {query.text}") for query in demo_corpus().queries) <= 80


def test_the_demo(running, folder, caplog):
    """The first thing that a new user does: it works, explains itself, fits a terminal and says nothing odd."""
    process = running["demo"].result()
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert "TOY" in lines[0]
    pictures = f"The pictures are in {demo_corpus().documents[0].path.parent}"
    assert pictures in lines
    right = re.fullmatch(r"Right picture first: dense (\d+) of 48, late interaction (\d+) of 48 queries\.", lines[-1])
    assert min(map(int, right.groups())) >= 44  # all 48 when it was written
    assert sum(line.startswith("The first ") for line in lines) == 3
    assert max(columns(line) for line in lines if line != pictures) <= 80
    # Where Triton is installed without a CPU part, vLLM says so before its own logging can be told to be quiet.
    noise = [line for line in process.stderr.splitlines() if not line.startswith("Triton is installed, but")]
    assert noise == []
    cache = folder("demo") / "cache"
    left = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(cache)}):
        demo_checkpoint()
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == left  # vLLM adds nothing to it
    assert caplog.messages == []


def test_training_writes_a_base_repository(running, folder, tmp_path):
    """Two steps on two documents: the script runs, reports, goes on, and `prepare` takes the result."""
    for steps, process in enumerate(running["training"].result(), 1):
        assert process.returncode == 0, process.stderr
        *_, last = map(json.loads, process.stdout.splitlines())
        assert last["step"] == steps
        assert set(last["validation"]) >= set(SET_NAMES)
    assert prepare(folder("training") / "repo", tmp_path / "out", all_tasks=True).is_dir()


def test_a_script_that_never_closes_leaves_no_process(running):
    """At the interpreter's exit vLLM's processes end, and the exit is clean."""
    finished = running["guarded"].result()
    assert finished.returncode == 0, finished.stderr
    *_, shape, pids = finished.stdout.splitlines()
    assert shape == "(1, 256)"
    left = [psutil.Process(pid) for pid in map(int, pids.split()) if psutil.pid_exists(pid)]
    # multiprocessing's own helper ends by itself once it sees that its parent has.
    assert not psutil.wait_procs(left, timeout=60)[1]
    assert "Traceback" not in finished.stdout + finished.stderr


def test_a_script_without_a_main_guard_is_told_so(running):
    """Where vLLM spawns its process, the script is imported again: the error says what to write."""
    finished = running["unguarded"].result()
    assert finished.returncode != 0
    assert "Put the script's work under: if __name__ == '__main__':" in finished.stderr
