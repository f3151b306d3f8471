"""The directory that preparation makes: whole, described, and nobody else's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from base_repo import TASKS
from jina_vllm_integrations.errors import CheckpointError
from jina_vllm_integrations.model.checkpoints import Checkpoint
from jina_vllm_integrations.preparation import prepare, preparing
from prepared import A_QUERY, ADAPTERS, names_in, rewrite, state_of


@pytest.mark.parametrize(
    ("options", "tasks"), [({"task": "text-matching"}, ["text-matching"]), ({"all_tasks": True}, list(TASKS))]
)
def test_the_config_names_our_model_class_and_the_tasks(repo, tmp_path, options, tasks):
    """The sizes stay as they are; the code of the source is no longer referred to."""
    out = prepare(repo, tmp_path / "out", **options)
    source, config = (json.loads((directory / "config.json").read_text()) for directory in (repo, out))
    assert config["architectures"] == ["JinaEmbeddingsV4ForVLLM"]
    assert config["model_type"] == "qwen2_5_vl"
    assert config["matryoshka_dimensions"] == source["matryoshka_dims"] == [64, 128, 256]
    assert config["jina_tasks"] == tasks
    assert config["multi_vector_dim"] == 128
    for name in ("text_config", "vision_config", "image_token_id", "dtype"):
        assert config[name] == source[name]
    assert "auto_map" not in config
    assert Checkpoint.read(out).matryoshka_dimensions == (64, 128, 256)


def test_processor_and_tokenizer_come_along_without_code(repo, tmp_path):
    """What the engine reads is copied, never linked; Python files and references to them are not."""
    out = prepare(repo, tmp_path / "out", task="retrieval")
    assert names_in(out) == {
        "config.json",
        "generation_config.json",
        "manifest.json",
        "multi_vector",
        "model.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (out / "tokenizer.json").read_bytes() == (repo / "tokenizer.json").read_bytes()
    processor = json.loads((repo / "preprocessor_config.json").read_text())
    assert processor.pop("auto_map")
    assert json.loads((out / "preprocessor_config.json").read_text()) == processor
    assert all(path.stat().st_nlink == 1 and not path.is_symlink() for path in out.rglob("*") if path.is_file())


def test_the_manifest_says_what_it_was_made_of(repo, tmp_path):
    """Source, tasks, versions and a digest for every file read; no path of this machine."""
    manifest_file = prepare(repo, tmp_path / "out", task="code") / "manifest.json"
    manifest = json.loads(manifest_file.read_text())
    assert manifest["source"] == {"name": repo.name, "commit": None}
    assert manifest["tasks"] == ["code"]
    assert manifest["versions"].keys() == {"jina-vllm-integrations", "safetensors"}
    assert {"model.safetensors", ADAPTERS, "adapters/adapter_config.json"} <= manifest["sha256"].keys()
    assert manifest["sha256"][ADAPTERS] == hashlib.sha256((repo / ADAPTERS).read_bytes()).hexdigest()
    assert str(tmp_path) not in manifest_file.read_text()
    assert str(repo.parent) not in manifest_file.read_text()


def test_an_equal_second_run_does_nothing(repo, tmp_path, monkeypatch):
    """The same source and tasks leave the directory untouched, whatever the source is called."""
    out = prepare(repo, tmp_path / "out", task="code")
    before = state_of(out)
    monkeypatch.setattr(preparing, "write_tensors", lambda *_, **__: pytest.fail("written again"))
    assert prepare(shutil.copytree(repo, tmp_path / "elsewhere"), str(out), task="code") == out
    assert state_of(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda repo, out: {"task": "retrieval"}, "differs in tasks"),
        (lambda repo, out: {"all_tasks": True}, "differs in tasks"),
        (
            lambda repo, out: rewrite(repo / ADAPTERS, lambda tensors: tensors[A_QUERY].mul_(2)) or {"task": "code"},
            "differs in sha256",
        ),
        (lambda repo, out: (out / "manifest.json").unlink() or {"task": "code"}, "is not a prepared directory"),
        (lambda repo, out: (out / "tokenizer.json").unlink() or {"task": "code"}, "is damaged: tokenizer.json"),
        (
            lambda repo, out: os.truncate(out / "model-00002-of-00002.safetensors", 100) or {"task": "code"},
            "is damaged: model-00002-of-00002.safetensors",
        ),
    ],
)
def test_another_directory_in_place_is_left_alone(own_repo, tmp_path, change, message):
    """What differs from what would be made, or is not ours, is an error that says what to do."""
    out = prepare(own_repo, tmp_path / "out", task="code")
    options = change(own_repo, out)
    before = state_of(out)
    with pytest.raises(CheckpointError, match=message) as caught:
        prepare(own_repo, out, **options)
    assert "emove it" in str(caught.value)
    assert state_of(out) == before


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_nothing_else_in_place_is_replaced(repo, tmp_path, make):
    """Neither an empty directory, nor a file, nor a dangling link is ours to replace."""
    make(tmp_path / "out")
    with pytest.raises(CheckpointError, match="is not a prepared directory"):
        prepare(repo, tmp_path / "out", task="code")


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"])
def test_an_interrupted_run_leaves_nothing(own_repo, tmp_path, monkeypatch, error):
    """Half-made output goes with the run that was making it."""
    written = []

    def write(path, tensors, **options):
        written.append(path)
        path.touch()
        if len(written) == 2:
            raise error

    monkeypatch.setattr(preparing, "write_tensors", write)
    with pytest.raises(type(error)):
        prepare(own_repo, tmp_path / "folder" / "out", task="code")
    assert len(written) == 2
    assert names_in(tmp_path / "folder") == set()


def test_a_killed_run_is_made_good_by_the_next(repo, tmp_path):
    """A run that had no chance to clean up leaves no output, and the next one removes what it left."""
    script = (
        "import os, signal, sys\n"
        "from jina_vllm_integrations.preparation import preparing\n"
        "preparing._write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "preparing.prepare(sys.argv[1], sys.argv[2], task='code')\n"
    )
    out = tmp_path / "folder" / "out"
    assert subprocess.run([sys.executable, "-c", script, repo, out], check=False).returncode == -signal.SIGKILL
    assert names_in(out.parent) == {".out.unfinished", ".out.lock"}
    prepare(repo, out, task="code")
    assert names_in(out.parent) == {"out"}


def test_runs_at_once_make_one_directory(repo, tmp_path, monkeypatch):
    """The first makes it, the others wait and find it."""
    written = []
    write = preparing._write
    monkeypatch.setattr(preparing, "_write", lambda *args, **options: written.append(0) or write(*args, **options))
    with ThreadPoolExecutor(4) as pool:
        outs = list(pool.map(lambda _: prepare(repo, tmp_path / "folder" / "out", task="code"), range(4)))
    assert outs == [tmp_path / "folder" / "out"] * 4
    assert len(written) == 1
    assert names_in(tmp_path / "folder") == {"out"}


def test_a_bar_is_shown_on_demand(repo, tmp_path, capsys):
    """Nothing is said unless it was asked for."""
    prepare(repo, tmp_path / "quiet", task="code")
    assert capsys.readouterr() == ("", "")
    prepare(repo, tmp_path / "told", task="code", progress=True)
    assert "reading: 100%" in (told := capsys.readouterr().err)
    assert "writing: 100%" in told
