"""The command `embed` over PDFs and scans: their pages, named, in order, each drawn once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from folders import CHOSEN, files
from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.cli import main
from jina_vllm_integrations.errors import PageCostError
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.documents import DocumentFile
from jina_vllm_integrations.images.documents.jobs import Draw
from jina_vllm_integrations.testing import FakeEngine
from page_files import REPORT, WORD, plain, tiff
from pdf_files import GARBLED, pdf


@pytest.fixture
def scans(folder):
    """Put PDFs and TIFFs beside the folder's texts and pictures."""
    (folder / "in/a.pdf").write_bytes(pdf(*REPORT))
    tiff(folder / "in/deeper/scan.TIF", [plain("red"), plain("lime", (60, 90))])
    tiff(folder / "in/single.tif", [plain("blue")])
    return folder / "in"


@pytest.fixture
def rows(fake):
    """Return a function that runs ``embed`` over a fake engine and returns the rows that it wrote."""

    def run(*arguments, status=0):
        assert main(["embed", *arguments, *CHOSEN, "-o", "out.jsonl", "--overwrite"]) == status
        return [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]

    return run


def names(rows):
    """Return what the rows are called."""
    return [row["name"] for row in rows]


def vectors_of(items):
    """Return what Python users get."""
    return JinaEncoder(FakeEngine(), task="code").embed(items, role="document")


NAMES = [
    *("in/a.pdf#page=1", "in/a.pdf#page=2", "in/a.pdf#page=3", "in/b.txt", "in/c.png", "in/deeper/a.jpg"),
    *("in/deeper/scan.TIF#page=1", "in/deeper/scan.TIF#page=2", "in/deeper/z.md", "in/single.tif"),
]


def test_the_pages_of_a_folder(scans, vllm_engine, embed, capsys):
    """On a real vLLM: the vectors that Python users get, in the order of names, texts and pictures among them."""
    assert embed("in -o out.jsonl --quiet") == 0
    rows = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    report = [PageSource("in/a.pdf", number) for number in (1, 2, 3)]
    scan = [PageSource("in/deeper/scan.TIF", number) for number in (1, 2)]
    pictures = [Path("in/c.png"), Path("in/deeper/a.jpg")]
    items = [*report, "Guten Tag\n\nおはよう\n", *pictures, *scan, "# Überschrift", Path("in/single.tif")]
    expected = JinaEncoder(vllm_engine, task="retrieval").embed(items, role="document")
    np.testing.assert_allclose([row["vector"] for row in rows], expected, rtol=0, atol=1e-5)
    assert names(rows) == NAMES
    assert [row["kind"] for row in rows] == ["text" if name.endswith((".txt", ".md")) else "image" for name in NAMES]
    assert capsys.readouterr().out == "10 vectors of 256 dimensions in out.jsonl\n"


def test_each_page_is_drawn_once(scans, rows, monkeypatch):
    """To be embedded; checking it before takes a look, and nothing is drawn for its number or size."""
    drawn = []
    done = DocumentFile.done

    def noticed(file, job, limits):
        if isinstance(job, Draw):
            drawn.append((Path(str(file.file)).name, job.number))
        return done(file, job, limits)

    monkeypatch.setattr(DocumentFile, "done", noticed)
    rows("in")
    assert sorted(drawn) == [("a.pdf", 0), ("a.pdf", 1), ("a.pdf", 2), ("scan.TIF", 0), ("scan.TIF", 1)]


def test_the_resolution_is_in_the_name(scans, rows):
    """As in the page's URI, because it decides the vector; a scan has its own pixels."""
    found = rows("in/a.pdf", "--dpi", "72")
    assert names(found) == [f"in/a.pdf#page={number}&dpi=72" for number in (1, 2, 3)]
    expected = vectors_of([PageSource("in/a.pdf", number, dpi=72) for number in (1, 2, 3)])
    np.testing.assert_allclose([row["vector"] for row in found], expected, atol=1e-5)
    assert not np.allclose(expected[0], vectors_of([PageSource("in/a.pdf", 1)])[0])


def test_chosen_pages(scans, rows, capsys):
    """Of each document those that it has, pictures and texts in any case; what has none of them is told once."""
    assert names(rows("in", "--pages", "3,1")) == [name for name in NAMES if not name.endswith("#page=2")]
    assert "documents" not in capsys.readouterr().err
    assert names(rows("in", "--pages", "3-")) == [name for name in NAMES if not name.endswith(("page=1", "page=2"))]
    message = "left out documents that have none of the chosen pages: 1 found, e.g. in/deeper/scan.TIF"
    assert capsys.readouterr().err == f"jina-vllm: {message}\n"


def test_what_is_left_out_beside_pdfs_is_told(scans, rows, capsys):
    """The number and an example."""
    (scans / "table.csv").write_text("1,2")
    rows("in")
    message = "left out what is hidden or neither text, image nor PDF: 1 found, e.g. in/table.csv"
    assert capsys.readouterr().err == f"jina-vllm: {message}\n"


def test_bad_pages_and_files_are_skipped_by_name(scans, rows, capsys, caplog):
    """The pages around them are embedded, and the result says how many were not."""
    (scans / "a.pdf").write_bytes(pdf(REPORT[0], GARBLED, REPORT[2]))
    (scans / "bad.pdf").write_text("no PDF")
    (scans / "locked.pdf").write_bytes(pdf(*REPORT, password=WORD))
    found = rows("in", "--on-error", "skip")
    assert names(found) == [name for name in NAMES if name != "in/a.pdf#page=2"]
    np.testing.assert_allclose(found[1]["vector"], vectors_of([PageSource("in/a.pdf", 3)])[0], atol=1e-5)
    named = [record.message.split("': ")[0] for record in caplog.records]
    assert named == ["skipped 'in/a.pdf#page=2", "skipped 'in/bad.pdf", "skipped 'in/locked.pdf"]
    assert capsys.readouterr().out == "9 vectors of 64 dimensions in out.jsonl; 3 skipped\n"


def test_a_page_that_costs_too_much_when_it_is_drawn_is_skipped(scans, rows, monkeypatch):
    """As those are that are found out before."""
    done = DocumentFile.done

    def costly(file, job, limits):
        if isinstance(job, Draw) and job.number == 1:
            raise PageCostError("a page may take 30 seconds")
        return done(file, job, limits)

    monkeypatch.setattr(DocumentFile, "done", costly)
    assert names(rows("in/a.pdf", "--on-error", "skip")) == ["in/a.pdf#page=1", "in/a.pdf#page=3"]


@pytest.mark.parametrize("content", [f"wrong\n\n{WORD}\n", f"\ufeff{WORD}\r\n"])
def test_passwords_are_read_from_a_file(scans, rows, content, capsys):
    """One a line, each is tried; no output and no message holds them."""
    (scans / "a.pdf").write_bytes(pdf(*REPORT, password=WORD))
    Path("passwords").write_bytes(content.encode())
    assert names(rows("in/a.pdf", "--password-file", "passwords")) == NAMES[:3]
    assert WORD not in Path("out.jsonl").read_text(encoding="utf-8") + "".join(capsys.readouterr())


def test_passwords_may_come_through_a_pipe(scans, rows):
    """As a shell hands over what a password manager says, without a file."""
    (scans / "a.pdf").write_bytes(pdf(*REPORT, password=WORD))
    reading, writing = os.pipe()
    os.write(writing, WORD.encode())
    os.close(writing)
    assert names(rows("in/a.pdf", "--password-file", f"/dev/fd/{reading}")) == NAMES[:3]
    os.close(reading)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in/bad.pdf"], "'in/bad.pdf': "),
        (["in/locked.pdf"], "'in/locked.pdf': "),
        (["in/garbled.pdf"], "'in/garbled.pdf#page=2': "),
        (["in/a.pdf", "--pages", "3-1"], "pages must be numbers from 1 and ranges of them"),
        (["in/a.pdf", "--pages", "4-"], "nothing to embed"),
        (["in/a.pdf", "--dpi", "0"], "dpi must be a positive number"),
        (["in/a.pdf", "--password-file", "nowhere"], "nowhere"),
        (["in/a.pdf", "--password-file", "in/empty"], "a file of passwords has one a line, 'in/empty' has none"),
        (["in/a.pdf", "--password-file", "in/latin"], "a file of passwords must be UTF-8, 'in/latin' is not"),
    ],
)
def test_what_is_wrong_with_pages_is_told_before_any_work(scans, fake, monkeypatch, capsys, arguments, message):
    """Status 2, the name of what is wrong, nothing on stdout, nothing written, nothing sent to vLLM."""
    monkeypatch.setattr(FakeEngine, "submit", lambda *_: pytest.fail("work was sent"))
    (scans / "bad.pdf").write_text("no PDF")
    (scans / "locked.pdf").write_bytes(pdf(*REPORT, password=WORD))
    (scans / "garbled.pdf").write_bytes(pdf(REPORT[0], GARBLED))
    (scans / "empty").write_text("\n\n")
    (scans / "latin").write_bytes(b"Stra\xdfe")
    assert main(["embed", *arguments, *CHOSEN, "-o", "out.npy"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jina-vllm: ")
    assert message in err
    assert files(scans.parent) == []


def test_a_pdf_whose_name_is_no_text(scans, rows):
    """Is embedded like any file of such a name."""
    (scans / "a.pdf").rename(scans / os.fsdecode(b"stra\xdfe.pdf"))
    assert r"in/stra\udcdfe.pdf#page=3" in names(rows("in"))
