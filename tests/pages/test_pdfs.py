"""The pages of PDFs: rendered once, upright, with what is drawn over them."""

from __future__ import annotations

import hashlib
import logging
from itertools import islice
from pathlib import Path

import pytest

from jina_vllm_integrations.errors import (
    BrokenPdfError,
    EncryptedPdfError,
    ImageFormatError,
    ImageSizeError,
    PageNotFoundError,
)
from jina_vllm_integrations.images import ImageLimits, PageSource, inspect
from jina_vllm_integrations.pages import Page, PageReader
from jina_vllm_integrations.pages.records import PageImage
from page_files import BLUE, GREEN, RED, REPORT, WHITE, WORD, corners
from pdf_files import GARBLED, PdfPage, is_open, pdf


def test_each_page_of_a_pdf_is_an_image(make, write, image_folder):
    """In order, with text, at the resolution that was asked for, under the name of its content."""
    path = write("report.pdf", *REPORT)
    pages = list(make(dpi=72).read(path))
    assert [(page.source, page.number, page.n_pages) for page in pages] == [(path, number, 3) for number in range(3)]
    assert [page.text for page in pages] == ["First page\nof a report", "Second page", ""]
    assert [corners(page)[0] for page in pages] == [RED, GREEN, BLUE]
    assert [(page.image.size, page.dpi, page.label) for page in pages] == [((200, 100), 72.0, "")] * 3
    for page in pages:
        sha256 = hashlib.sha256(page.image.source.read_bytes()).hexdigest()
        file = image_folder / f"{sha256}.png"
        assert page.image == PageImage(source=file, uri=str(file), sha256=sha256, size=(200, 100))


def test_resolution(make, write):
    """A page of 200 x 100 points has as many pixels as its size in inches says."""
    path = write("report.pdf", *REPORT)
    assert [page.image.size for page in make().read(path)] == [(417, 209)] * 3
    assert [page.image.size for page in make(dpi=36).read(path)] == [(100, 50)] * 3


def test_an_equal_page_is_the_same_file(make, write, image_folder):
    """However often it is read, and wherever it is; it is written once."""
    path = write("report.pdf", *REPORT, REPORT[0])
    first = [page.image for page in make().read(path)]
    written = {file: file.stat().st_mtime_ns for file in image_folder.glob("*.png")}
    again = [page.image for page in make().read(write("copy.pdf", *REPORT, REPORT[0]))]
    assert again == first
    assert first[0] == first[3]
    assert {file: file.stat().st_mtime_ns for file in image_folder.glob("*.png")} == written
    assert len(written) == 3


def test_a_rendered_page_that_was_damaged_is_written_again(make, write):
    """What the name says of the content is true of what is handed out."""
    path = write("report.pdf", *REPORT)
    (page, *_) = make().read(path)
    page.image.source.write_bytes(b"")
    (again, *_) = make().read(path)
    assert hashlib.sha256(again.image.source.read_bytes()).hexdigest() == page.image.sha256


def test_a_changed_page_changes_no_other(make, write):
    """The others keep their images when a PDF gets another second page."""
    before = [page.image for page in make().read(write("report.pdf", *REPORT))]
    changed = PdfPage(text="Second page", colour=(0.5, 0, 0))
    after = [page.image for page in make().read(write("report.pdf", REPORT[0], changed, REPORT[2]))]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    ("rotate", "corner", "size"), [(0, 0, "wide"), (90, 1, "high"), (180, 3, "wide"), (270, 2, "high")]
)
def test_a_turned_page_is_upright(make, write, rotate, corner, size):
    """It looks as in a PDF reader."""
    (page,) = make(dpi=72).read(write("turned.pdf", PdfPage(colour=(1, 0, 0), text="a text", rotate=rotate)))
    assert page.image.size == {"wide": (200, 100), "high": (100, 200)}[size]
    assert [colour == RED for colour in corners(page)] == [number == corner for number in range(4)]
    assert page.text == "a text"


@pytest.mark.parametrize("marks", ["annotation", "field"])
def test_annotations_and_form_fields_are_drawn(make, write, marks):
    """What somebody filled in or marked is part of the page."""
    plain_page, marked = make(dpi=72).read(write("form.pdf", PdfPage(), PdfPage(marks=marks)))
    assert corners(plain_page)[2] == WHITE
    assert corners(marked)[2] == GREEN


def test_labels_are_the_printed_numbers(make, write):
    """A preface has roman ones."""
    assert [page.label for page in make().read(write("preface.pdf", *REPORT, labels="r"))] == ["i", "ii", "iii"]


def test_pages_are_written_when_their_turn_comes(make, write, image_folder):
    """When a page is handed out, none behind it was written, nor is any when nobody reads on."""
    path = write("long.pdf", *(PdfPage(text=f"page {number}", size=(50, 20)) for number in range(1000)))
    pages = make(dpi=36).read(path)
    for count, page in enumerate(islice(pages, 5), start=1):
        assert page.n_pages == 1000
        assert len(list(image_folder.glob("*.png"))) == count
    pages.close()
    assert len(list(image_folder.glob("*.png"))) == 5


def test_a_page_is_drawn_when_it_is_needed(write):
    """Without a folder for images, a page is its place, which an encoder or a viewer draws."""
    path = write("report.pdf", *REPORT)
    pages = list(PageReader(dpi=72).read(path))
    assert [page.image.uri for page in pages] == [f"{path.as_uri()}#page={number}&dpi=72" for number in (1, 2, 3)]
    assert [corners(page)[0] for page in pages] == [RED, GREEN, BLUE]
    assert [inspect(page.image.uri).load().size for page in pages] == [page.image.size for page in pages]


def test_what_a_page_shows_is_known_without_drawing_it(write):
    """Equal bytes, numbers and ways to draw have equal names, wherever the file is, and others have others."""

    def names(path, **options):
        return [page.image.sha256 for page in PageReader(**options).read(path)]

    first = names(write("report.pdf", *REPORT))
    assert len(set(first)) == 3
    assert names(write("copy.pdf", *REPORT)) == first
    assert not set(first) & set(names(write("report.pdf", *REPORT), dpi=100))
    assert not set(first) & set(names(write("report.pdf", *REPORT[::-1])))


def test_a_file_that_was_changed_is_not_drawn(write):
    """What is embedded is what was read."""
    path = write("report.pdf", *REPORT)
    (page, *_) = PageReader().read(path)
    handle = inspect(page.image.source)
    write("report.pdf", *REPORT, REPORT[0])
    with pytest.raises(PageNotFoundError, match=r"must stay as it was; .*report.pdf' was changed"):
        handle.load()


def test_a_flat_page_is_an_error(make, write):
    """The model takes none that is 200 times as long as it is wide."""
    with pytest.raises(ImageSizeError, match=r"200 times as long as wide, got 1e\+07x1 of 'page 1 of .*plan.pdf'"):
        list(make().read(write("plan.pdf", PdfPage(size=(1e7, 1)))))


@pytest.mark.parametrize("size", [(200, 100), (3000, 20), (14400, 14400), (1e7, 1e7)])
def test_a_page_with_too_many_pixels_is_rendered_at_less(make, write, size):
    """It has as many as are allowed, at a resolution that it tells."""
    reader = make(dpi=300, image_limits=ImageLimits(max_pixels=40_000))
    (page,) = reader.read(write("plan.pdf", PdfPage(size=size)))
    width, height = page.image.size
    assert (0.9 * 40_000 if min(size) > 20 else 1) < width * height <= 40_000
    assert page.dpi < 300
    assert width == pytest.approx(size[0] / 72 * page.dpi, abs=1)
    assert inspect(page.image.source).load().size == page.image.size


def test_a_page_with_too_many_bytes_is_an_error(make, write):
    """It could not be embedded."""
    with pytest.raises(ImageSizeError, match=r"may have 100 bytes; 'page 1 of .*report.pdf' has .*lower dpi"):
        list(make(image_limits=ImageLimits(max_bytes=100)).read(write("report.pdf", *REPORT)))


@pytest.mark.parametrize("password", [WORD, ["other", WORD], (WORD,)])
def test_an_encrypted_pdf_opens_with_its_password(make, write, password):
    """Of several, each is tried; files that need none are read as always."""
    write("a.pdf", REPORT[0])
    encrypted = write("b.pdf", *REPORT[:2], password=WORD)
    pages = list(make(password=password).read(encrypted.parent))
    assert [page.text.splitlines()[0] for page in pages] == ["First page", "First page", "Second page"]
    assert pages[0].image == pages[1].image


@pytest.mark.parametrize("password", [None, "wrong-one", ["wrong-one", "another"]])
def test_an_encrypted_pdf_without_its_password_is_an_error(make, write, password):
    """The message names the file and the remedy, and no password."""
    path = write("secret.pdf", *REPORT, password=WORD)
    with pytest.raises(EncryptedPdfError, match=r"secret\.pdf.*Pass password=") as caught:
        list(make(password=password).read(path))
    assert "wrong-one" not in str(caught.value)
    assert not is_open(path)


@pytest.mark.parametrize("content", [b"", b"no PDF at all", pdf(*REPORT)[:150], b"%PDF-1.7\n%%EOF"])
def test_a_broken_pdf_is_an_error(make, folder, content):
    """It names the file."""
    (folder / "broken.pdf").write_bytes(content)
    with pytest.raises(BrokenPdfError, match=r"complete and undamaged; '.*broken\.pdf' cannot be read"):
        list(make().read(folder / "broken.pdf"))


def test_a_broken_page_is_an_error(make, write):
    """It names the page, after the pages before it were handed out."""
    path = write("report.pdf", REPORT[0], GARBLED, REPORT[1])
    pages = make().read(path)
    assert next(pages).number == 0
    with pytest.raises(BrokenPdfError, match=r"'page 2 of .*report\.pdf' cannot be read"):
        next(pages)
    assert not is_open(path)


def test_a_pdf_is_known_by_its_first_bytes(make, write, folder):
    """Uploads have no suffix."""
    upload = write("report.pdf", *REPORT).rename(folder / "upload")
    assert len(list(make().read(upload))) == 3


def test_what_cannot_be_read_is_skipped_if_that_was_chosen(make, write, folder, caplog):
    """A file, or a page alone; it is logged and listed, and the next reading begins a new list."""
    write("a.pdf", REPORT[0], GARBLED, REPORT[2])
    write("b.pdf", *REPORT, password=WORD)
    (folder / "c.pdf").write_bytes(b"none")
    (folder / "d.png").write_bytes(b"none")
    write("e.pdf", REPORT[1])
    reader = make(on_error="skip")
    with caplog.at_level(logging.WARNING):
        pages = list(reader.read(folder))
    assert [(page.source.name, page.number) for page in pages] == [("a.pdf", 0), ("a.pdf", 2), ("e.pdf", 0)]
    assert [(each.source, each.number, type(each.error)) for each in reader.skipped] == [
        (folder / "a.pdf", 1, BrokenPdfError),
        (folder / "b.pdf", None, EncryptedPdfError),
        (folder / "c.pdf", None, BrokenPdfError),
        (folder / "d.png", None, ImageFormatError),
    ]
    assert [record.message for record in caplog.records] == [f"skipped: {each.error}" for each in reader.skipped]
    assert {each.error.__traceback__ for each in reader.skipped} == {None}
    assert len(list(reader.read(folder / "e.pdf"))) == 1
    assert reader.skipped == []


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("a   b\n\n  c  ", "a b\nc"),
        ("inter-\nnational", "international"),
        (r"a\000b\001c", "abc"),
        ("   ", ""),
    ],
)
def test_text_is_tidy(make, write, lines, text):
    """No blank lines, no control characters, no hyphens of line ends."""
    (page,) = make().read(write("report.pdf", PdfPage(text=lines)))
    assert page.text == text


def page_with(text, n_pages=3):
    """Return the second page of a report."""
    image = PageImage(source=Path("/x.png"), uri="/x.png", sha256="", size=(1, 1))
    return Page(source=Path("a/report.pdf"), number=n_pages - 1, n_pages=n_pages, image=image, text=text)


def test_an_excerpt_ends_with_a_word():
    """Unless there is only one."""
    page = page_with("one two\nthree")
    assert [page.excerpt(n) for n in (2, 3, 4, 6, 7, 8, 12, 13, 99)] == [
        *("on", "one", "one", "one", "one two", "one two", "one two", "one two\nthree", "one two\nthree")
    ]


def test_an_excerpt_of_nothing_tells_which_page_it_is():
    """By its number among several, which counts from 1."""
    assert page_with("").excerpt(5) == "[page 3 of report.pdf]"
    assert page_with("").excerpt(5, name="q/report.pdf") == "[page 3 of q/report.pdf]"


def fonts_of(caplog):
    """Return what is said of fonts."""
    return [record.getMessage() for record in caplog.records if "in the font" in record.getMessage()]


@pytest.fixture
def draws_japanese(tmp_path):
    """Whether this machine has a font in which PDFium draws Japanese."""
    (tmp_path / "blank.pdf").write_bytes(pdf(PdfPage()))
    (tmp_path / "japanese.pdf").write_bytes(pdf(PdfPage(japanese="請求書")))
    blank, japanese = (inspect(PageSource(tmp_path / f"{name}.pdf")).load() for name in ("blank", "japanese"))
    return blank.tobytes() != japanese.tobytes()


def test_text_that_is_not_drawn_is_said(make, write, caplog, draws_japanese):
    """Once a file and font, with the page; its letters would be missing from the picture in silence."""
    path = write("invoice.pdf", PdfPage(text="Invoice"), PdfPage(japanese="請求書"), PdfPage(japanese="合計"))
    pages = list(make().read(path))
    assert [page.text for page in pages] == ["Invoice", "請求書", "合計"]
    said = fonts_of(caplog)
    assert len(said) == (0 if draws_japanese else 1)
    assert all(message.startswith(f"page 2 of {path} has text in the font 'HeiseiMin-W3'") for message in said)


def test_latin_text_is_drawn_without_its_fonts(make, write, caplog):
    """PDFium brings such fonts, so there is nothing to say, also of accents and signs."""
    list(make().read(write("invoice.pdf", PdfPage(text="Café, ± £2 §7 ¿Qué?"))))
    assert fonts_of(caplog) == []
