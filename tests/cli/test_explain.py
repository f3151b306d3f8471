"""The command `explain`: the table and the picture that Python users get."""

from __future__ import annotations

import json
import shlex

import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from folders import files
from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.cli import main
from jina_vllm_integrations.heatmaps import explain
from jina_vllm_integrations.heatmaps.tables import format_explanation
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.testing import FakeEngine
from page_files import REPORT, WORD
from pdf_files import pdf


def test_an_explanation(folder, vllm_engine, checkpoint, no_start, capsys):
    """On a real vLLM: the picture and the table that Python users get, pooled or not, and where the picture is."""
    page = folder / "in/c.png"
    options = [f"--engine-option={name}={json.dumps(value)}" for name, value in ENGINE_OPTIONS.items()]
    for factor in (1, 2):
        arguments = ["explain", "a red page", "in/c.png", "--model", str(checkpoint), "-o", "why.png", "--overwrite"]
        assert main([*arguments, f"--pool-factor={factor}", *options]) == 0
        explanation = explain(JinaEncoder(vllm_engine, task="retrieval"), "a red page", page, pool_factor=factor)
        table = format_explanation(explanation)
        assert capsys.readouterr().out == f"{table}\n\nThe picture is why.png\n"
        with Image.open("why.png") as picture:
            assert picture.tobytes() == explanation.sheet(page).tobytes()


def test_an_explanation_by_the_demo(folder, fake, capsys):
    """With --demo there is nothing to name but one of its pictures; a file of that name comes first."""
    assert main(["explain", "Where?", "page-15.png", "--demo", "-o", "why.png", "--engine-option=max_num_seqs=7"]) == 0
    assert fake["model"].name == "checkpoint"
    assert fake["max_num_seqs"] == 7
    assert "not in the image" in capsys.readouterr().out
    (folder / "in/c.png").rename(folder / "page-15.png")
    assert main(["explain", "Where?", "page-15.png", "--demo", "-o", "why2.png"]) == 0
    with Image.open("why.png") as demos, Image.open("why2.png") as ours:
        assert demos.tobytes() != ours.tobytes()


@pytest.mark.parametrize("name", ["in/a.pdf#page=2", "uri", "in/a.pdf#page=2&dpi=50"])
def test_an_explanation_of_a_page(folder, fake, capsys, name):
    """A page is called as `embed` calls it or by its URI, and is the one that Python users get."""
    (folder / "in/a.pdf").write_bytes(pdf(*REPORT, password=WORD))
    (folder / "in/passwords").write_text(WORD)
    page = PageSource("in/a.pdf", 2, dpi=50 if "dpi" in name else 150, passwords=[WORD])
    named = page.uri if name == "uri" else name
    arguments = ["explain", "Where?", named, "--model", "m", "-o", "why.png", "--password-file", "in/passwords"]
    assert main(arguments) == 0
    explanation = explain(JinaEncoder(FakeEngine(), task="retrieval"), "Where?", page)
    assert capsys.readouterr().out.startswith(format_explanation(explanation))
    with Image.open("why.png") as picture:
        assert picture.tobytes() == explanation.sheet(page).tobytes()


def test_a_picture_that_is_called_like_a_page(folder, fake):
    """Is the picture."""
    (folder / "in/c.png").rename(folder / "in/c#page=2")
    assert main(["explain", "Where?", "in/c#page=2", "--model", "m", "-o", "why.png"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("query in/c.png -o why.jpg", "the output must end in .png, got 'why.jpg'"),
        ("query in/c.png -o no/why.png", "folder must exist, 'no' does not"),
        ("query in/c.png -o in/c.png", "'in/c.png' exists. Choose another name, or pass --overwrite."),
        ("query in/c.png -o folder.png --overwrite", "must be a file, 'folder.png' is a folder"),
        ("query missing.png -o why.png", "an image path must name a file; 'missing.png'"),
        ("query in/b.txt -o why.png", "'in/b.txt'"),
        ("query in/a.pdf -o why.png", "of a PDF one page must be named, got 'in/a.pdf'. Write 'in/a.pdf#page=1'"),
        ("query in/a.pdf#page=4 -o why.png", "4"),
        ("query in/a.pdf#page=x -o why.png", "for a page #page= with its number, got 'file:///"),
        ("query in/a.pdf#page=0 -o why.png", "page must be a whole number from 1, got 0"),
        ("' ' in/c.png -o why.png", "a text must have content"),
        ("query in/c.png -o why.png --font in/b.txt", "a TrueType or OpenType file, 'in/b.txt' cannot be read"),
    ],
)
def test_what_cannot_be_explained_is_told_before_any_work(folder, fake, monkeypatch, capsys, arguments, message):
    """Status 2, one message that names what is wrong, nothing on stdout, nothing written, nothing sent to vLLM."""
    monkeypatch.setattr(FakeEngine, "submit", lambda *_: pytest.fail("work was sent"))
    (folder / "folder.png").mkdir()
    (folder / "in/a.pdf").write_bytes(pdf(*REPORT))
    before = (folder / "in/c.png").read_bytes()
    assert main(["explain", *shlex.split(arguments), "--model", "m"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jina-vllm: ")
    assert message in err
    assert err.count("\n") == 1
    assert files(folder) == ["folder.png"]
    assert (folder / "in/c.png").read_bytes() == before


@pytest.mark.parametrize("chosen", [[], ["--model", "m", "--demo"]])
def test_an_explanation_needs_one_model(chosen, capsys):
    """A checkpoint or the demo's, not both."""
    with pytest.raises(SystemExit, match="2"):
        main(["explain", "query", "page.png", "-o", "why.png", *chosen])
    assert "--demo" in capsys.readouterr().err.splitlines()[-1]
