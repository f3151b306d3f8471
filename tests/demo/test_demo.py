"""The demo: a checkpoint that is whole whenever it is handed out, pictures with queries, and what the command shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations import JinaEncoder, OptionError
from jina_vllm_integrations.cli import main
from jina_vllm_integrations.demo import DemoCorpus, DemoDocument, DemoQuery, demo_checkpoint, demo_corpus, demo_engine
from jina_vllm_integrations.demo import checkpoint as checkpoints
from jina_vllm_integrations.demo.search import DemoScores, format_search, score_corpus
from jina_vllm_integrations.engines import in_process
from jina_vllm_integrations.model.checkpoints import Checkpoint
from jina_vllm_integrations.testing import FakeEngine

TASKS = ("retrieval", "text-matching", "code")


@pytest.fixture(autouse=True)
def cache(tmp_path):
    """Return a cache of the test's own, and undo what a command sets in this process's environment."""
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(tmp_path / "cache")}):
        yield tmp_path / "cache"


@pytest.fixture
def fake(monkeypatch):
    """Put a fake engine in vLLM's place."""
    monkeypatch.setattr(in_process, "InProcessEngine", lambda *_, **__: FakeEngine())


def snapshot(folder):
    """Return what is in a folder and below, and when it was written."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (folder, *folder.rglob("*"))}


def contents(folder):
    """Return the bytes of each file in a folder and below."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_checkpoint_has_every_task():
    """It is a miniature of the real one: three adapters and heads, three Matryoshka sizes, 128-d token vectors."""
    checkpoint = Checkpoint.read(demo_checkpoint())
    assert checkpoint.matryoshka_dimensions == (64, 128, 256)
    assert checkpoint.token_dimensions == 128
    assert checkpoint.tasks == checkpoint.token_tasks == tuple(checkpoint.adapters) == TASKS


def test_the_checkpoint_is_prepared_once(cache):
    """The second call finds it, and writes nothing at all."""
    first = demo_checkpoint()
    before = snapshot(cache)
    assert demo_checkpoint() == first
    assert snapshot(cache) == before


def test_the_cache_is_the_users(cache, monkeypatch, tmp_path):
    """Another XDG_CACHE_HOME is another cache, with an equal checkpoint."""
    here = demo_checkpoint()
    assert here.is_relative_to(cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    there = demo_checkpoint()
    assert there == tmp_path / "other" / here.relative_to(cache)
    assert contents(there) == contents(here)


@pytest.mark.parametrize("variables", [{"XDG_CACHE_HOME": ""}, {}])
def test_without_a_named_cache_it_is_in_the_home(tmp_path, variables):
    """An empty name means the same as none."""
    with mock.patch.dict(os.environ, {"HOME": str(tmp_path)}):
        del os.environ["XDG_CACHE_HOME"]
        os.environ.update(variables)
        assert demo_checkpoint().parents[1] == tmp_path / ".cache" / "jina-vllm-integrations"


def flip_a_bit(path):
    """Change a file without changing its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a weight that changed": ("model.safetensors", flip_a_bit),
    "an adapter that was cut": ("adapters/code/adapter_model.safetensors", lambda path: path.write_bytes(b"")),
    "a file that was lost": ("tokenizer.json", Path.unlink),
    "a file that was added": ("model-2.safetensors", Path.touch),
    "a lost record": ("../sha256.json", Path.unlink),
    "a spoilt record": ("../sha256.json", lambda path: path.write_text("{")),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_replaced(cache, caplog, name, damage):
    """What is not as it was prepared is never served: it is made again, and the log names the file."""
    path = demo_checkpoint()
    whole = contents(cache)
    damage(path / name)
    assert contents(cache) != whole
    assert demo_checkpoint() == path
    assert contents(cache) == whole
    file = name.removeprefix("../")
    assert caplog.messages == [f"{path.parent} is damaged: {file}. It is prepared again."]
    before = snapshot(cache)
    demo_checkpoint()
    assert snapshot(cache) == before


def test_an_interruption_leaves_nothing_that_could_be_served(cache, caplog, monkeypatch):
    """A checkpoint whose record could not be written is not there; the next call makes it, and finds no damage."""
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_json", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            demo_checkpoint()
    assert contents(cache) == {}
    assert Checkpoint.read(demo_checkpoint()).tasks == TASKS
    assert caplog.messages == []


def test_another_run_may_be_replacing_it(cache, caplog, monkeypatch):
    """Files that vanish while they are read send the call to wait for the run that removes them (white box)."""
    path = demo_checkpoint()
    before = contents(cache)
    digests, vanished = checkpoints._digests, []

    def vanishing(directory, *pattern):
        if directory == path and not vanished:
            vanished.append(directory)
            raise FileNotFoundError
        return digests(directory, *pattern)

    monkeypatch.setattr(checkpoints, "_digests", vanishing)
    assert demo_checkpoint() == path
    assert vanished
    assert contents(cache) == before
    assert caplog.messages == []


@pytest.mark.parametrize("source", ["_BASE_REPO", "_PREPARATION"])
def test_other_versions_are_neighbours(cache, monkeypatch, tmp_path, source):
    """Other files in the package, or other code that prepares them, never meet what is cached (white box)."""
    here = demo_checkpoint()
    before = snapshot(here)
    other = shutil.copytree(getattr(checkpoints, source), tmp_path / "source")
    monkeypatch.setattr(checkpoints, source, other)
    assert demo_checkpoint() == here  # where the sources lie makes no difference
    (other / "another.py").touch()
    assert demo_checkpoint() != here
    assert snapshot(here) == before


PREPARE_WHEN_TOLD = """
import sys
from jina_vllm_integrations import preparation
from jina_vllm_integrations.demo import demo_checkpoint

prepare = preparation.prepare

def telling(*arguments, **options):
    print("preparing")
    return prepare(*arguments, **options)

preparation.prepare = telling
print("ready", flush=True)
sys.stdin.readline()
print(demo_checkpoint())
"""


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_at_once_prepare_one_checkpoint(cache, damaged):
    """One makes it, or makes it good, and the others get the same."""
    if damaged:
        flip_a_bit(demo_checkpoint() / "model.safetensors")
    command = [sys.executable, "-c", PREPARE_WHEN_TOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    said = Counter(line for out, _ in answers for line in out.splitlines())
    assert said == {"preparing": 1, str(demo_checkpoint()): 3}
    assert sum(error.count("is damaged: model.safetensors") for _, error in answers) == damaged
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [path.name for path in demo_checkpoint().parents[1].iterdir()] == [demo_checkpoint().parent.name]


def test_the_engine_is_set_for_a_small_machine():
    """It serves the demo's checkpoint; what the caller says replaces what the demo says (white box)."""
    with demo_engine(dtype="bfloat16", max_model_len=512, pooling="client") as engine:
        assert engine.checkpoint.path == demo_checkpoint()
        assert engine.max_tokens == 512
        options = engine._options
    assert (options["dtype"], options["enforce_eager"], options["kv_cache_memory_bytes"]) == ("bfloat16", True, 2**28)
    assert options["hf_overrides"] == {"architectures": ["Qwen2_5_VLForConditionalGeneration"]}


def test_an_unknown_option_is_told_first(cache):
    """Nothing is written for an engine that cannot be made."""
    with pytest.raises(OptionError, match="no engine option 'max_modle_len'"):
        demo_engine(max_modle_len=9)
    assert not cache.exists()


def test_the_demo_without_vllm(cache, monkeypatch, capsys):
    """Who installed the core alone is told what to install, and nothing is written."""
    monkeypatch.setattr(in_process, "find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert (
        "'vllm' is not installed. Install it with: pip install 'jina-vllm-integrations[gpu]'" in capsys.readouterr().err
    )
    assert not cache.exists()


def test_the_corpus_has_pages_and_scenes():
    """24 of each in order, all in this package, each an image of its own."""
    documents = demo_corpus().documents
    names = [f"{kind}-{number:02}.png" for kind in ("page", "scene") for number in range(1, 25)]
    assert [document.name for document in documents] == [document.path.name for document in documents] == names
    pictures = set()
    for document in documents:
        with Image.open(document.path) as image:
            assert image.format == "PNG"
            pictures.add((image.size, image.tobytes()))
    assert len(pictures) == 48


def test_every_query_has_an_answer():
    """Queries are different, answered by documents, and about pages and scenes in four languages."""
    corpus = demo_corpus()
    names = {document.name for document in corpus.documents}
    assert len({query.text for query in corpus.queries}) == 48
    for query in corpus.queries:
        assert query.answers
        assert set(query.answers) <= names
    kinds = {(query.language, query.answers[0][:4]) for query in corpus.queries}
    assert kinds == {(language, kind) for language in ("de", "en", "es", "ja") for kind in ("page", "scen")}


def max_sim(query, document):
    """Return a score, one inner product after the other."""
    return sum(max(float(token @ other) for other in document) for token in query)


def test_every_query_is_scored_against_every_picture():
    """The scores are those of the encoder's own vectors, queries as queries and pictures as documents."""
    corpus = demo_corpus()
    few = DemoCorpus(documents=corpus.documents[20:28], queries=corpus.queries[22:27])
    with FakeEngine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        scores = score_corpus(encoder, few)
        pictures, picture_tokens = encoder.embed_both([document.path for document in few.documents], role="document")
        queries, query_tokens = encoder.embed_both([query.text for query in few.queries], role="query")
    np.testing.assert_allclose(scores.dense, np.inner(queries, pictures), rtol=0, atol=1e-6)
    late = [[max_sim(query.vectors, picture.vectors) for picture in picture_tokens] for query in query_tokens]
    np.testing.assert_allclose(scores.late, late, rtol=0, atol=1e-4)
    assert scores.dense.dtype == scores.late.dtype == np.float32


SMALL_CORPUS = DemoCorpus(
    documents=tuple(
        DemoDocument(name=f"{name}.png", path=Path("/pictures") / f"{name}.png")
        for name in ("page-1", "page-2", "scene-1", "scene-2")
    ),
    queries=(
        DemoQuery(text="black stars", language="en", answers=("scene-1.png", "scene-2.png")),
        DemoQuery(text="ein roter Stern", language="de", answers=("scene-1.png",)),
        DemoQuery(text="grüne Bücher", language="de", answers=("page-2.png",)),
        DemoQuery(text="黒い星", language="ja", answers=("scene-2.png",)),
        DemoQuery(text="blue stars", language="en", answers=("scene-1.png",)),
    ),
)
SMALL_SCORES = DemoScores(
    dense=np.array(
        [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0], [0.5, 0.25, 0.5, -0.5], [0.9, 0.8, 0.7, 0.6], [1, 0, 0, 0]],
        dtype=np.float32,
    ),
    late=np.array([[4, 3, 2, 1], [1, 0, 0, 0], [1, 9, 2, 3], [-4, -3, -2, -1], [0, 0, 12.5, 0]], dtype=np.float32),
)
SMALL_SEARCH = """\
4 pictures, best first; * marks the one that was searched for.

The first German query about a page:
  grüne Bücher
     dense vectors                 late interaction
  1  page-1.png      0.500         page-2.png      9.000 *
  2  scene-1.png     0.500         scene-2.png     3.000
  3  page-2.png      0.250 *       scene-1.png     2.000

The first English query about a scene:
  black stars
     dense vectors                 late interaction
  1  scene-2.png     0.400 *       page-1.png      4.000
  2  scene-1.png     0.300 *       page-2.png      3.000
  3  page-2.png      0.200         scene-1.png     2.000 *

The first Japanese query about a scene:
  黒い星
     dense vectors                 late interaction
  1  page-1.png      0.900         scene-2.png    -1.000 *
  2  page-2.png      0.800         scene-1.png    -2.000
  3  scene-1.png     0.700         page-2.png     -3.000

The pictures are in /pictures
Right picture first: dense 2 of 5, late interaction 3 of 5 queries."""


def test_the_search_is_shown_side_by_side():
    """Rankings, marks and sums are those of the scores, to the character."""
    assert format_search(SMALL_CORPUS, SMALL_SCORES) == SMALL_SEARCH


def test_a_damaged_cache_is_told_on_stderr(fake, capsys):
    """Who runs the command sees that it mended something; stdout stays the search's."""
    assert main(["demo"]) == 0
    whole = capsys.readouterr()
    assert whole.err == ""
    (demo_checkpoint() / "config.json").unlink()
    assert main(["demo"]) == 0
    mended = capsys.readouterr()
    assert mended.err == f"WARNING: {demo_checkpoint().parent} is damaged: config.json. It is prepared again.\n"
    assert mended.out == whole.out


def test_a_file_in_the_way_of_the_cache(cache, fake, capsys):
    """What the operating system refuses is a message, not a traceback."""
    cache.touch()
    assert main(["demo"]) == 2
    assert re.fullmatch(rf"jina-vllm: \[Errno \d+\] .*: '{re.escape(str(cache))}.*'\n", capsys.readouterr().err)
