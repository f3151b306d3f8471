"""Which pages of a document are read, where some are chosen."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from jina_vllm_integrations.errors import OptionError, PageNotFoundError
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.documents import files
from jina_vllm_integrations.pages import PageReader
from jina_vllm_integrations.pages.choices import PageChoice
from page_files import BLUE, GREEN, RED, REPORT, corners, picture_file, plain, tiff
from pdf_files import GARBLED, PdfPage


@pytest.mark.parametrize(
    ("pages", "numbers"),
    [
        (None, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("1", [0]),
        ("1-3,7", [0, 1, 2, 6]),
        ("7,1-3,2-4", [0, 1, 2, 3, 6]),
        (" 2 - 3 , 8 ", [1, 2, 7]),
        ("6-", [5, 6, 7]),
        ("7-100,3,200", [2, 6, 7]),
        ("9", []),
        ("9-", []),
        ("999999999-,9-11", []),
    ],
)
def test_pages_are_chosen_by_number(pages, numbers):
    """In the document's order, each once; those behind its end are passed over."""
    assert list(PageChoice.parse(pages).of(8)) == numbers


@pytest.mark.parametrize("pages", ["", " ", "0", "0-3", "3-1", "-3", "1,,2", "a", "1-2-3", "1.5", "²", "1" * 10, 1])
def test_a_malformed_choice_is_named(pages):
    """With how one is written, before anything is read."""
    with pytest.raises(OptionError, match=r"pages must be numbers from 1 and ranges .* such as '1-3,7,20-', got "):
        PageReader(pages=pages)


@pytest.mark.parametrize("images", [True, False])
def test_chosen_pages_keep_their_numbers(make, write, folder, images):
    """Of PDFs and scans, written as files or not. Pictures are read in any case."""
    write("a.pdf", *REPORT)
    tiff(folder / "b.tif", [plain("red"), plain("lime"), plain("blue")])
    picture_file(folder / "c.png")
    reader = make(pages="2-", **({} if images else {"image_folder": None}))

    pages = list(reader.read(folder))

    read = [(page.source.name, page.number, page.n_pages) for page in pages]
    assert read == [("a.pdf", 1, 3), ("a.pdf", 2, 3), ("b.tif", 1, 3), ("b.tif", 2, 3), ("c.png", 0, 1)]
    assert [corners(page)[0] for page in pages] == [GREEN, BLUE, GREEN, BLUE, RED]
    assert [page.text for page in pages[:2]] == ["Second page", ""]


def test_a_skipped_page_keeps_its_number(make, write):
    """Although the pages before it were not chosen."""
    reader = make(pages="2-3", on_error="skip")
    pages = list(reader.read(write("a.pdf", *REPORT[:2], GARBLED)))
    assert [page.number for page in pages] == [1]
    assert [skipped.number for skipped in reader.skipped] == [2]


def test_pages_that_were_not_chosen_are_not_looked_at(make, write):
    """So a damaged one among them is no error."""
    (page,) = make(pages="3").read(write("a.pdf", GARBLED, GARBLED, PdfPage(text="third")))
    assert page.text == "third"


def test_a_document_without_chosen_pages_is_told(make, write, folder, caplog):
    """It is passed over, the others are read, and a warning names it."""
    write("a.pdf", *REPORT[:2])
    write("b.pdf", *REPORT)
    with caplog.at_level(logging.WARNING):
        assert [page.source.name for page in make(pages="3").read(folder)] == ["b.pdf"]
    (message,) = caplog.messages
    assert "a.pdf': its 2 pages are not among those chosen" in message


def test_the_images_of_a_file(write, folder):
    """Are its chosen pages, by the reader's settings, or the path as it was given; no page is looked at for it."""
    report = write("a.pdf", *REPORT[:2], GARBLED)
    scan = tiff(
        folder / "scan.png", [plain("red"), plain("blue")], format="TIFF"
    )  # content says what it is, not the name
    single = tiff(folder / "single.tif", [plain("red")])
    text = folder / "text.png"
    text.write_text("no picture")
    reader = PageReader(dpi=72, pages="2-", password="sesame")  # noqa: S106 - no secret
    chosen = {"dpi": 72, "passwords": ("sesame",)}
    assert list(reader.images(report)) == [PageSource(report, 2, **chosen), PageSource(report, 3, **chosen)]
    assert list(reader.images(str(scan))) == [PageSource(scan, 2, **chosen)]
    assert list(reader.images(single)) == [single]
    assert list(reader.images(text)) == [text]
    with pytest.raises(PageNotFoundError):
        list(reader.images(Path("missing.png")))


def test_the_images_of_a_file_draw_nothing(write, monkeypatch):
    """One look finds how many pages there are, however many."""
    jobs = []
    done = files.DocumentFile.done
    monkeypatch.setattr(files.DocumentFile, "done", lambda *call: jobs.append(call[1]) or done(*call))
    assert len(list(PageReader().images(write("a.pdf", *REPORT * 20)))) == 60
    assert [job.numbers for job in jobs] == [()]
