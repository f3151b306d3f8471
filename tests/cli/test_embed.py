"""The command `embed`: the encoder's vectors in files, and what is wrong told before any work."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from engine_options import MAX_TOKENS
from folders import CHOSEN, files
from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.cli import main
from jina_vllm_integrations.cli.sources import Source
from jina_vllm_integrations.engines import in_process
from jina_vllm_integrations.testing import FakeEngine

SAME = {"rtol": 0, "atol": 1e-5}


def read(path):
    """Return the vectors, names and kinds in a file, and what made them."""
    if path.suffix == ".npy":
        facts = json.loads(path.with_suffix(".manifest.json").read_text(encoding="utf-8"))
        rows, vectors = facts.pop("rows"), np.load(path)
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        vectors = np.array([row.pop("vector") for row in rows], dtype=np.float32)
        facts = {key: value for key, value in rows[0].items() if key not in {"name", "kind"}}
    else:
        table = parquet.read_table(path)
        vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
        rows = table.to_pylist()
        facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    return vectors, [row["name"] for row in rows], [row["kind"] for row in rows], facts


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_the_rows_are_the_encoders(folder, vllm_engine, checkpoint, embed, capsys, suffix):
    """Texts and files of a nested folder become the vectors that Python users get, named and in order."""
    assert embed(f"in --text 'A text' -o out{suffix}") == 0
    vectors, names, kinds, facts = read(folder / f"out{suffix}")
    items = ["A text", "Guten Tag\n\nおはよう\n", folder / "in/c.png", folder / "in/deeper/a.jpg", "# Überschrift"]
    expected = JinaEncoder(vllm_engine, task="retrieval").embed(items, role="document")
    np.testing.assert_allclose(vectors, expected, **SAME)
    assert vectors.dtype == np.float32
    assert names == ["A text", "in/b.txt", "in/c.png", "in/deeper/a.jpg", "in/deeper/z.md"]
    assert kinds == ["text", "text", "image", "image", "text"]
    assert facts.items() >= {"model": str(checkpoint), "task": "retrieval", "role": "document"}.items()
    written = f"out{suffix} and out.manifest.json" if suffix == ".npy" else f"out{suffix}"
    assert capsys.readouterr().out == f"5 vectors of 256 dimensions in {written}\n"


@pytest.mark.parametrize("task", ["retrieval", "text-matching", "code"])
@pytest.mark.parametrize("role", ["query", "document"])
def test_task_and_role_decide_the_vectors(folder, vllm_engine, embed, task, role):
    """Each pair gives what the encoder gives for it."""
    assert embed("--text 'Guten Tag' -o out.npy", task=task, role=role) == 0
    expected = JinaEncoder(vllm_engine, task=task).embed(["Guten Tag"], role=role)
    np.testing.assert_allclose(np.load("out.npy"), expected, **SAME)
    other = JinaEncoder(vllm_engine, task="retrieval").embed(["Guten Tag"], role="document")
    assert np.allclose(expected, other, **SAME) == (role == "document" and task != "text-matching")


def test_dimensions(folder, vllm_engine, embed):
    """A Matryoshka size gives the encoder's shorter vectors."""
    assert embed("in --dimensions 64 -o out.npy") == 0
    encoder = JinaEncoder(vllm_engine, task="retrieval", dimensions=64)
    vectors = np.load("out.npy")
    assert vectors.shape == (4, 64)
    np.testing.assert_allclose(vectors[1], encoder.embed([Path("in/c.png")], role="document")[0], **SAME)


def test_lines(folder, vllm_engine, embed):
    """Each line that is not blank is an item, named by its number; images stay whole."""
    assert embed("in/b.txt in/c.png --lines -o out.jsonl") == 0
    vectors, names, kinds, _ = read(folder / "out.jsonl")
    assert names == ["in/b.txt:1", "in/b.txt:3", "in/c.png"]
    assert kinds == ["text", "text", "image"]
    items = ["Guten Tag", "おはよう", Path("in/c.png")]
    expected = JinaEncoder(vllm_engine, task="retrieval").embed(items, role="document")
    np.testing.assert_allclose(vectors, expected, **SAME)


def test_order_of_many(folder, vllm_engine, embed):
    """Several of the engine's batches of short and long lines come out as they went in."""
    lines = [f"line {n} " * (n % 9 + 1) for n in range(300)]
    Path("in/many.txt").write_text("\n".join(lines))
    assert embed("in/many.txt --lines -o out.npy") == 0
    expected = JinaEncoder(vllm_engine, task="retrieval").embed(lines, role="document")
    np.testing.assert_allclose(np.load("out.npy"), expected, **SAME)


def test_truncation(folder, vllm_engine, embed, capsys):
    """On request a text that is too long is cut, which is told once."""
    Path("in/long.txt").write_text("x" * 3000 + "\n" + "y" * 3000)
    assert embed("in/long.txt --lines --truncate -o out.npy") == 0
    encoder = JinaEncoder(vllm_engine, task="retrieval")
    fitting = ["x" * (MAX_TOKENS - 9), "y" * (MAX_TOKENS - 9)]
    np.testing.assert_allclose(np.load("out.npy"), encoder.embed(fitting, role="document"), **SAME)
    assert capsys.readouterr().err.count("WARNING: cut a text of 3009 tokens to the engine's 2048") == 1


def test_a_damaged_image_in_the_middle(folder, vllm_engine, embed, capsys):
    """What only decoding shows stops the work: the file is named, and there is no half output."""
    whole = folder / "whole.png"
    Image.effect_noise((300, 300), 50).save(whole)
    Path("in/c.png").write_bytes(whole.read_bytes()[:20_000])
    whole.unlink()
    assert embed("in -o out.npy") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "jina-vllm: 'in/c.png': an image must be complete and undamaged" in err
    assert "item 1" not in err
    assert files(folder) == []


def test_a_failure_keeps_the_older_output(folder, vllm_engine, embed):
    """With --overwrite, too, the old vectors stay until the new ones are all there."""
    assert embed("in -o out.npy") == 0
    older = [(folder / name).read_bytes() for name in files(folder)]
    whole = Path("in/c.png").read_bytes()
    Path("in/c.png").write_bytes(whole[:-30])
    assert embed("in -o out.npy --overwrite") == 2
    assert [(folder / name).read_bytes() for name in files(folder)] == older
    Path("in/c.png").write_bytes(whole)
    assert embed("in/b.txt -o out.npy --overwrite") == 0
    assert np.load("out.npy").shape == (1, 256)
    assert files(folder) == ["out.manifest.json", "out.npy"]


def test_the_bar_is_on_stderr_and_can_be_silenced(folder, vllm_engine, embed, capsys):
    """Stdout is for the result; --quiet leaves nothing else."""
    assert embed("in -o out.npy") == 0
    out, err = capsys.readouterr()
    assert out == "4 vectors of 256 dimensions in out.npy and out.manifest.json\n"
    assert "embedding: 100%" in err
    assert "4/4" in err
    assert embed("in -o out2.npy --quiet") == 0
    out, err = capsys.readouterr()
    assert out == "4 vectors of 256 dimensions in out2.npy and out2.manifest.json\n"
    assert err == ""


LATIN = b"Stra\xdfe"
FLAT = Image.new("RGB", (500, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("in -o out.txt", r"must end in one of .npy .jsonl .parquet, got 'out.txt'"),
        ("in -o no/such/out.npy", "folder must exist, 'no/such' does not"),
        ("in -o in/b.txt --overwrite", "must end in one of"),
        ("nowhere -o out.npy", "'nowhere' is neither a file nor a folder"),
        ("in/d.csv -o out.npy", "got 'in/d.csv'. Convert or rename it."),
        ("-o out.npy", "nothing to embed. Name files, folders, or texts with --text."),
        ("empty -o out.npy", "nothing to embed"),
        ("in/b.txt in/latin.txt -o out.npy", "a text file must be UTF-8, 'in/latin.txt' is not"),
        ("in/b.txt in/latin.txt --lines -o out.npy", "a text file must be UTF-8, 'in/latin.txt' is not"),
        ("in/b.txt in/blank.txt -o out.npy", "'in/blank.txt': a text must have content"),
        ("in/b.txt in/note.png -o out.npy", "'in/note.png': an image must be "),
        ("in/b.txt in/flat.png -o out.npy", "'in/flat.png': the model takes images up to 200 times as long as wide"),
        (
            "in/b.txt in/long.txt -o out.npy",
            "'in/long.txt': a text may have 2048 tokens with its prefix, this one has 3009",
        ),
        ("--text '' -o out.npy", "'': a text must have content"),
        ("in --dimensions 17 -o out.npy", "Matryoshka sizes 64, 128, 256, got 17"),
        ("in --engine-option max_modle_len=9 -o out.npy", "no engine option 'max_modle_len'. Did you mean"),
        ("in --engine-option runner=draft -o out.npy", "runner: set by InProcessEngine itself"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(folder, embed, monkeypatch, capsys, arguments, message):
    """Status 2, one message that names what is wrong, nothing on stdout, nothing written, nothing sent to vLLM."""
    monkeypatch.setattr(in_process.InProcessEngine, "submit", lambda *_: pytest.fail("work was sent"))
    (folder / "in/d.csv").write_text("1,2")
    (folder / "in/latin.txt").write_bytes(LATIN)
    (folder / "in/blank.txt").write_text(" \n")
    (folder / "in/note.png").write_text("no picture")
    (folder / "in/long.txt").write_text("x" * 3000)
    FLAT.save(folder / "in/flat.png")
    (folder / "empty").mkdir()
    assert embed(f"{arguments} --quiet") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jina-vllm: ")
    assert message in err
    assert err.count("\n") == 1
    assert files(folder) == ["empty"]


def test_an_unknown_model(folder, no_start, capsys):
    """A model that is not there is told before anything else is done."""
    chosen = ["--task", "code", "--role", "query", "-o", "out.npy", "--quiet"]
    assert main(["embed", "in", "--model", "no-such-model", *chosen]) == 2
    assert "a model is a directory or a hub id such as 'owner/name', got 'no-such-model'" in capsys.readouterr().err
    assert files(folder) == []


@pytest.mark.parametrize("missing", ["--role", "--task", "--model", "--output"])
def test_what_decides_the_vectors_has_no_default(missing, capsys):
    """Role, task, model and output are the caller's to say."""
    given = {"--role": "query", "--task": "code", "--model": "m", "--output": "out.npy"}
    del given[missing]
    with pytest.raises(SystemExit) as caught:
        main(["embed", "in", *itertools.chain(*given.items())])
    assert caught.value.code == 2
    assert missing in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--role=passage", "choose from 'query', 'document'"),
        ("--task=search", "choose from 'retrieval', 'text-matching', 'code'"),
        ("--engine-option=dtype", "must be NAME=VALUE, got 'dtype'"),
        ("--engine-option=model=other", "the model is named by --model"),
    ],
)
def test_unknown_choices(folder, embed, capsys, option, message):
    """A wrong word is answered with the right ones."""
    with pytest.raises(SystemExit) as caught:
        embed(f"in -o out.npy {option}")
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_existing_output_needs_overwrite(folder, embed, capsys):
    """Neither vectors nor a manifest are replaced unasked."""
    (folder / "out.manifest.json").write_text("mine")
    assert embed("in -o out.npy") == 2
    assert "'out.manifest.json' exists. Choose another name, or pass --overwrite." in capsys.readouterr().err
    assert (folder / "out.manifest.json").read_text() == "mine"


def test_engine_options_are_read_as_they_are_meant(folder, fake):
    """Numbers, truth values in either spelling, objects and plain words arrive as such; the last one counts."""
    options = ["max_model_len=9", "max_model_len=99", "enforce_eager=True", "async_scheduling=false", "dtype=float32"]
    options += ['mm_processor_kwargs={"max_pixels": 784}', "revision=a=b"]
    chosen = ["--model", "m", "--task", "code", "--role", "query", "-o", "out.npy", "--text", "a"]
    assert main(["embed", *chosen, *(f"--engine-option={option}" for option in options)]) == 0
    assert fake == {
        "model": "m",
        "max_model_len": 99,
        "enforce_eager": True,
        "async_scheduling": False,
        "dtype": "float32",
        "mm_processor_kwargs": {"max_pixels": 784},
        "revision": "a=b",
    }


def test_what_is_left_out_of_a_folder_is_told(folder, fake, capsys):
    """The number and an example, so that nobody thinks that everything was embedded."""
    (folder / "in/table.csv").write_text("1,2")
    (folder / "in/.hidden.txt").write_text("hidden")
    assert main(["embed", "in", *CHOSEN, "-o", "out.npy"]) == 0
    assert np.load("out.npy").shape == (4, 64)
    message = "left out what is hidden or neither text, image nor PDF: 2 found, e.g. in/.hidden.txt"
    assert capsys.readouterr().err == f"jina-vllm: {message}\n"


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_a_file_name_of_any_bytes(folder, fake, suffix):
    """A name that is no UTF-8 does not spoil the output when everything is computed."""
    (folder / "in" / os.fsdecode(b"stra\xdfe.txt")).write_text("Text")
    assert main(["embed", "in", *CHOSEN, "-o", f"out{suffix}"]) == 0
    _, names, _, _ = read(folder / f"out{suffix}")
    assert r"in/stra\udcdfe.txt" in names


def test_few_items_are_held_at_once(folder, fake, monkeypatch):
    """However many lines there are, those in flight are all that is in memory."""
    alive = []
    read_one = Source.read

    def read(source):
        if next(reads) % 500 == 499:
            alive.append(sum(isinstance(thing, Source) for thing in gc.get_objects()))
        return read_one(source)

    reads = itertools.count()
    monkeypatch.setattr(Source, "read", read)
    Path("in/many.txt").write_text("\n".join(f"line {n}" for n in range(2000)))
    assert main(["embed", "in/many.txt", "--lines", *CHOSEN, "-o", "out.npy"]) == 0
    assert len(alive) == 8  # checked, then embedded
    assert max(alive) <= 2 * FakeEngine.max_in_flight


def test_an_interruption_leaves_nothing(folder, fake, monkeypatch, capsys):
    """Ctrl-C ends with the status that shells expect, without a traceback or a half output."""
    read_one = Source.read

    def read(source):
        if next(reads) == 500:
            assert len(files(folder)) == 1
            raise KeyboardInterrupt
        return read_one(source)

    reads = itertools.count()
    monkeypatch.setattr(Source, "read", read)
    Path("in/many.txt").write_text("\n".join(f"line {n}" for n in range(400)))
    assert main(["embed", "in/many.txt", "--lines", *CHOSEN, "-o", "out.npy"]) == 130
    assert capsys.readouterr().err == "jina-vllm: interrupted\n"
    assert files(folder) == []


def test_logging_is_as_it_was(folder, fake):
    """A program that calls the command twice does not hear everything twice."""
    before = list(logging.getLogger("jina_vllm_integrations").handlers)
    main(["embed", "in", *CHOSEN, "-o", "out.npy"])
    assert logging.getLogger("jina_vllm_integrations").handlers == before


def test_bad_items_are_skipped_where_that_was_chosen(folder, fake, capsys, caplog):
    """Each is named by its file, the good ones keep their order, and the result says how many."""
    (folder / "in" / "a.png").write_bytes(b"no picture")
    (folder / "in" / "d.txt").write_bytes("Straße".encode("latin-1"))
    (folder / "in" / "e.txt").write_text("  ")
    arguments = ["embed", "in", "--model", "some", "--task", "retrieval", "--role", "document", "-o", "out.jsonl"]
    assert main([*arguments, "--on-error", "skip"]) == 0
    assert capsys.readouterr().out == "4 vectors of 64 dimensions in out.jsonl; 3 skipped\n"
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["name"] for row in rows] == ["in/b.txt", "in/c.png", "in/deeper/a.jpg", "in/deeper/z.md"]
    expected = JinaEncoder(FakeEngine(), task="retrieval").embed(["Guten Tag\n\nおはよう\n"], role="document")
    np.testing.assert_allclose(rows[0]["vector"], expected[0], **SAME)
    messages = [record.message for record in caplog.records]
    named = [message.split(":")[0] for message in messages]
    assert named == [f"skipped 'in/{name}'" for name in ("a.png", "d.txt", "e.txt")]
    assert main([*arguments, "--overwrite"]) == 2
    assert "'in/a.png': an image" in capsys.readouterr().err


def test_lines_of_a_file_that_is_not_utf_8_are_skipped_with_it(folder, fake, capsys):
    """From the first line that is not; the other files are embedded."""
    (folder / "in" / "d.txt").write_bytes(b"Good\n" * 10_000 + "Straße".encode("latin-1"))
    arguments = ["embed", "in", "--lines", "--model", "some", "--task", "code", "--role", "query", "-o", "out.npy"]
    assert main([*arguments, "--on-error", "skip"]) == 0
    assert "1 skipped" in capsys.readouterr().out


def test_nothing_good_at_all(folder, fake, capsys):
    """Is an error, before vLLM starts."""
    (folder / "bad").mkdir()
    (folder / "bad" / "a.txt").write_text(" ")
    arguments = ["embed", "bad", "--model", "some", "--task", "code", "--role", "query", "-o", "out.npy"]
    assert main([*arguments, "--on-error", "skip"]) == 2
    assert "one item at least must be good, and none of 1 is; the last: 'bad/a.txt'" in capsys.readouterr().err
    assert not (folder / "out.npy").exists()
