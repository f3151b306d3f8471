"""Pages as image files: of PDFs, scans and pictures; one at a time, by content, or an error that names the file."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations.errors import (
    BrokenPdfError,
    EncryptedPdfError,
    ImageError,
    ImageFormatError,
    ImageSizeError,
    MissingExtraError,
    OptionError,
    PageError,
    PageNotFoundError,
)
from jina_vllm_integrations.images import ImageLimits, inspect
from jina_vllm_integrations.pages import Page, PageReader, pdfs
from jina_vllm_integrations.pages.records import PageImage
from pdf_files import GARBLED, PdfPage, is_open, pdf

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION, NEW_SUBFILE_TYPE = 274, 254
WORD = "sesame"
REPORT = (
    PdfPage(text="First page\nof a report", colour=(1, 0, 0)),
    PdfPage(text="Second page", colour=(0, 1, 0)),
    PdfPage(colour=(0, 0, 1)),
)


@pytest.fixture
def image_folder(tmp_path):
    """Return where rendered pages go."""
    return tmp_path / "images"


@pytest.fixture
def make(image_folder):
    """Return a maker of readers that render into the test's own folder."""
    return lambda **options: PageReader(**{"image_folder": image_folder, **options})


@pytest.fixture
def folder(tmp_path):
    """Return a folder for documents."""
    path = tmp_path / "documents"
    path.mkdir()
    return path


@pytest.fixture
def write(folder):
    """Return a function that writes a PDF and returns its path."""

    def write_pdf(name, *pages, **options):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pdf(*pages, **options))
        return folder / name

    return write_pdf


def corners(page):
    """Return the colours of a page's corners: left upper, right upper, left lower, right lower."""
    image = inspect(page.image.path).load()
    right, bottom = image.width - 3, image.height - 3
    return [image.getpixel(place) for place in ((2, 2), (right, 2), (2, bottom), (right, bottom))]


def picture(path, size=(40, 30), colour="red", **options):
    """Write a plain picture."""
    Image.new("RGB", size, colour).save(path, **options)
    return path


def tiff(path, frames, **options):
    """Write a TIFF of several frames, each a picture and the tags of its own."""
    pictures = [frame for frame, _ in frames]
    for frame, tags in frames:
        frame.encoderinfo = {"tiffinfo": tags}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return path


def plain(colour, size=(40, 30)):
    """Return a frame without tags."""
    return Image.new("RGB", size, colour), {}


def test_each_page_of_a_pdf_is_an_image(make, write, image_folder):
    """In order, with text, at the resolution that was asked for, under the name of its content."""
    path = write("report.pdf", *REPORT)
    pages = list(make(dpi=72).read(path))
    assert [(page.source, page.number, page.n_pages) for page in pages] == [(path, number, 3) for number in range(3)]
    assert [page.text for page in pages] == ["First page\nof a report", "Second page", ""]
    assert [corners(page)[0] for page in pages] == [RED, GREEN, BLUE]
    assert [(page.image.size, page.dpi, page.label) for page in pages] == [((200, 100), 72.0, "")] * 3
    for page in pages:
        sha256 = hashlib.sha256(page.image.path.read_bytes()).hexdigest()
        assert page.image == PageImage(path=image_folder / f"{sha256}.png", sha256=sha256, size=(200, 100))


def test_resolution(make, write):
    """A page of 200 x 100 points has as many pixels as its size in inches says."""
    path = write("report.pdf", *REPORT)
    assert [page.image.size for page in make().read(path)] == [(417, 209)] * 3
    assert [page.image.size for page in make(dpi=36).read(path)] == [(100, 50)] * 3


def test_an_equal_page_is_the_same_file(make, write, image_folder):
    """However often it is read, and wherever it is; it is written once."""
    path = write("report.pdf", *REPORT, REPORT[0])
    first = [page.image for page in make().read(path)]
    written = {file: file.stat().st_mtime_ns for file in image_folder.iterdir()}
    again = [page.image for page in make().read(write("copy.pdf", *REPORT, REPORT[0]))]
    assert again == first
    assert first[0] == first[3]
    assert {file: file.stat().st_mtime_ns for file in image_folder.iterdir()} == written
    assert len(written) == 3


def test_a_rendered_page_that_was_damaged_is_written_again(make, write):
    """What the name says of the content is true of what is handed out."""
    path = write("report.pdf", *REPORT)
    (page, *_) = make().read(path)
    page.image.path.write_bytes(b"")
    (again, *_) = make().read(path)
    assert hashlib.sha256(again.image.path.read_bytes()).hexdigest() == page.image.sha256


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


def test_pages_are_rendered_when_their_turn_comes(make, write, image_folder):
    """When a page is handed out, none behind it was rendered, and the file is closed when nobody reads on."""
    path = write("long.pdf", *(PdfPage(text=f"page {number}", size=(50, 20)) for number in range(1000)))
    pages = make(dpi=36).read(path)
    for count, page in enumerate(islice(pages, 5), start=1):
        assert page.n_pages == 1000
        assert len(list(image_folder.glob("*.png"))) == count
    assert is_open(path)
    pages.close()
    assert not is_open(path)


@pytest.mark.parametrize("size", [(200, 100), (3000, 10), (14400, 14400), (1e7, 1e7), (1e7, 1)])
def test_a_page_with_too_many_pixels_is_rendered_at_less(make, write, size):
    """It has as many as are allowed, at a resolution that it tells."""
    reader = make(dpi=300, image_limits=ImageLimits(max_pixels=40_000))
    (page,) = reader.read(write("plan.pdf", PdfPage(size=size)))
    width, height = page.image.size
    assert (0.9 * 40_000 if min(size) > 10 else 1) < width * height <= 40_000
    assert page.dpi < 300
    assert width == pytest.approx(size[0] / 72 * page.dpi, abs=1)
    assert inspect(page.image.path).load().size == page.image.size


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


FORMATS = ("png", "jpg", "webp", "tiff", "gif", "bmp", "avif", "ppm")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_is_a_page_as_it_is(make, folder, image_folder, suffix):
    """Nothing is copied."""
    path = picture(folder / f"scan.{suffix}")
    (page,) = make().read(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert page == Page(
        source=path, number=0, n_pages=1, image=PageImage(path=path, sha256=sha256, size=(40, 30)), dpi=page.dpi
    )
    assert not image_folder.exists()


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("a.png", (300, 300), 300),
        ("a.jpg", (150, 150), 150),
        ("a.tiff", (200, 200), 200),
        ("a.bmp", (96, 96), 96),
        ("a.tiff", (204, 98), None),
        ("a.png", None, None),
        ("a.webp", None, None),
    ],
)
def test_a_picture_tells_its_resolution(make, folder, name, given, told):
    """If the file does, and if it is the same in both directions."""
    (page,) = make().read(picture(folder / name, **({"dpi": given} if given else {})))
    assert page.dpi == (None if told is None else pytest.approx(told, abs=0.1))


def test_a_photo_is_as_large_as_it_is_shown(make, folder):
    """A camera that was held upright has its width and height in the other order."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (page,) = make().read(picture(folder / "photo.jpg", exif=exif))
    assert page.image.size == (30, 40)


def test_a_truncated_picture_is_an_error(make, folder):
    """Although its header is fine: what is handed out can be embedded."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    encoded = io.BytesIO()
    noise.save(encoded, "PNG")
    (folder / "cut.png").write_bytes(encoded.getvalue()[:-500])
    with pytest.raises(ImageFormatError, match=r"cut\.png"):
        list(make().read(folder / "cut.png"))


def test_an_animation_is_its_first_frame(make, folder):
    """Only a TIFF has pages."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (page,) = make().read(folder / "moving.gif")
    assert (page.n_pages, page.image.path) == (1, folder / "moving.gif")


def test_each_frame_of_a_tiff_is_a_page(make, folder, image_folder):
    """Rendered as PNG like the pages of a PDF, with its resolution, whatever its size."""
    path = tiff(folder / "scan.tif", [plain("red"), plain("lime", (50, 60)), plain("blue")], dpi=(200, 200))
    pages = list(make().read(path))
    assert [(page.number, page.n_pages, page.image.size, page.dpi) for page in pages] == [
        (0, 3, (40, 30), 200),
        (1, 3, (50, 60), 200),
        (2, 3, (40, 30), 200),
    ]
    assert [corners(page)[0] for page in pages] == [RED, GREEN, BLUE]
    assert {page.image.path.parent for page in pages} == {image_folder}
    assert [page.excerpt(100) for page in pages] == [f"[page {number} of scan.tif]" for number in (1, 2, 3)]


def test_a_tiffs_turned_frame_is_upright(make, folder):
    """Each frame has an orientation of its own."""
    lying = Image.new("RGB", (40, 30), "white")
    lying.paste("red", (0, 0, 20, 15))
    path = tiff(folder / "scan.tif", [(lying, {}), (lying.copy(), {ORIENTATION: 6}), (lying.copy(), {})])
    first, turned, last = make().read(path)
    assert [page.image.size for page in (first, turned, last)] == [(40, 30), (30, 40), (40, 30)]
    assert corners(turned)[1] == RED
    assert first.image == last.image


def test_small_copies_and_masks_in_a_tiff_are_no_pages(make, folder):
    """A picture with a thumbnail is one page, as it is; behind a thumbnail, the picture is what counts."""
    small = (Image.new("RGB", (4, 3), "red"), {NEW_SUBFILE_TYPE: 1})
    mask = (Image.new("L", (40, 30)), {NEW_SUBFILE_TYPE: 4})
    (page,) = make().read(tiff(folder / "a.tif", [plain("red"), small, mask]))
    assert (page.image.path, page.image.size) == (folder / "a.tif", (40, 30))
    (page,) = make().read(tiff(folder / "b.tif", [small, plain("red")]))
    assert (corners(page)[0], page.image.size) == (RED, (40, 30))


def test_a_damaged_frame_is_skipped_alone(make, folder):
    """Its neighbours are read."""
    path = tiff(folder / "scan.tif", [plain("red"), plain("lime"), plain("blue")], compression="tiff_adobe_deflate")
    with Image.open(path) as image:
        image.seek(1)
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    reader = make(on_error="skip")
    assert [page.number for page in reader.read(path)] == [0, 2]
    assert [(each.number, type(each.error)) for each in reader.skipped] == [(1, ImageFormatError)]
    assert f"page 2 of {path}" in str(reader.skipped[0].error)


def test_a_tiff_whose_list_of_frames_is_damaged_is_an_error(make, folder):
    """Which names the file."""
    path = tiff(folder / "scan.tif", [plain("red"), plain("lime")])
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ImageError, match=r"scan\.tif"):
        list(make().read(path))


def test_a_folder_is_read_in_the_order_of_names(make, write, folder):
    """To any depth; nothing hidden, and nothing that has no pages."""
    write("b.pdf", REPORT[0])
    write("a/2.pdf", REPORT[0])
    picture(folder / "a/1.JPG", format="JPEG")
    write(".hidden/x.pdf", REPORT[0])
    write("._b.pdf", REPORT[0])
    (folder / "notes.txt").write_text("no page")
    (folder / "album.png").mkdir()
    assert [page.source for page in make().read(folder)] == [folder / name for name in ("a/1.JPG", "a/2.pdf", "b.pdf")]
    assert [page.source for page in make(glob="*.pdf").read(folder)] == [folder / "b.pdf"]
    assert [page.source for page in make(glob="a/*").read(folder)] == [folder / "a/1.JPG", folder / "a/2.pdf"]


@pytest.mark.parametrize("image_folder", ["documents", "documents/pages"])
def test_rendered_pages_are_not_read_again(make, write, folder, image_folder):
    """Although they are in the folder that is read."""
    write("report.pdf", *REPORT)
    for _ in range(2):
        assert len(list(make(image_folder=folder.parent / image_folder).read(folder))) == 3


def test_paths_come_in_many_kinds(make, write, folder, monkeypatch):
    """As str, path or several, absolute or relative; the source is as it was named, the image absolute."""
    write("report.pdf", *REPORT)
    picture(folder / "scan.png")
    monkeypatch.chdir(folder.parent)
    for paths, sources in {
        "documents": ["documents/report.pdf"] * 3 + ["documents/scan.png"],
        Path("documents/scan.png"): ["documents/scan.png"],
        ("documents/scan.png", folder / "scan.png"): ["documents/scan.png", str(folder / "scan.png")],
        (): [],
    }.items():
        pages = list(make().read(paths))
        assert [str(page.source) for page in pages] == sources
        assert all(page.image.path.is_absolute() and page.image.path.is_file() for page in pages)
    assert len(list(make().read(path for path in folder.iterdir()))) == 4


def test_a_relative_image_folder_stays_where_it_is(write, folder, monkeypatch):
    """It is that of the working folder when the reader was made."""
    path = write("report.pdf", *REPORT)
    monkeypatch.chdir(folder)
    reader = PageReader(image_folder="images")
    monkeypatch.chdir("/")
    assert {page.image.path.parent for page in reader.read(path)} == {folder / "images"} == {reader.image_folder}


def test_images_go_into_the_users_cache_unless_said_otherwise(write, tmp_path, monkeypatch):
    """Into a folder that nobody else may look into."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reader = PageReader()
    (page,) = reader.read(write("report.pdf", REPORT[0]))
    assert page.image.path.parent == reader.image_folder == tmp_path / "cache/jina-vllm-integrations/pages"
    assert reader.image_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_what_was_named_must_be_there(make, write, folder, on_error, image_folder):
    """A path to nothing and a folder without pages are errors before anything is rendered, and never skipped."""
    reader = make(on_error=on_error)
    path = write("report.pdf", *REPORT)
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    for wrong, message in {
        "missing.pdf": "names none",
        "pipe": "names none",
        "empty": "has none that match",
    }.items():
        with pytest.raises(PageNotFoundError, match=f"{wrong}.*{message}"):
            list(reader.read([path, folder / wrong]))
    with pytest.raises(PageNotFoundError, match=r"glob='\*\.tiff'"):
        list(make(glob="*.tiff", on_error=on_error).read(folder))
    assert not image_folder.exists()


def test_a_file_that_goes_meanwhile_is_an_error(make, write, folder):
    """Or is skipped."""
    for name in ("a.pdf", "b.pdf"):
        write(name, REPORT[0])
    reader = make(on_error="skip")
    pages = reader.read(folder)
    next(pages)
    (folder / "b.pdf").unlink()
    assert list(pages) == []
    assert [type(each.error) for each in reader.skipped] == [PageNotFoundError]


def test_links_do_not_lead_out_of_a_folder(make, write, folder, tmp_path):
    """One that does is an error; inside they are followed, and a file that the caller names may be any."""
    inside = write("report.pdf", REPORT[0])
    outside = picture(tmp_path / "private.png")
    (folder / "link.pdf").symlink_to(inside)
    (folder / "up").symlink_to(folder, target_is_directory=True)
    assert [page.source.name for page in make().read(folder)] == ["link.pdf", "report.pdf"]
    (folder / "out.png").symlink_to(outside)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    reader = make(on_error="skip")
    assert [page.source.name for page in reader.read(folder)] == ["link.pdf", "report.pdf"]
    assert [(each.source.name, type(each.error)) for each in reader.skipped] == [
        ("loop.png", PageNotFoundError),
        ("out.png", PageError),
    ]
    assert "private.png" in str(reader.skipped[1].error)
    assert len(list(make().read(folder / "out.png"))) == 1


def test_a_path_that_is_no_text_is_an_error(make, folder):
    """No store could keep it."""
    path = picture(folder / os.fsdecode(b"scan \xff.png"))
    with pytest.raises(PageError, match="must be Unicode"):
        list(make().read(path))


@pytest.mark.parametrize(
    ("options", "paths", "message"),
    [
        ({"dpi": 0}, ".", "dpi must be a positive number"),
        ({"dpi": float("inf")}, ".", "dpi must be a positive number"),
        ({"dpi": "150"}, ".", "dpi must be a positive number"),
        ({"on_error": "ignore"}, ".", "on_error must be one of 'raise', 'skip'"),
        ({"glob": "/etc/*"}, ".", "glob must be a pattern relative to the folder"),
        ({"glob": ""}, ".", "glob must be a pattern relative to the folder"),
        ({}, "", "a path is a str or path object"),
        ({}, 5, "a path is a str or path object .* got 5"),
        ({}, b"scans", "a path is a str or path object"),
        ({}, [None], "a path is a str or path object"),
    ],
)
def test_bad_options_are_named(make, options, paths, message):
    """With what is allowed."""
    with pytest.raises(OptionError, match=message):
        list(make(**options).read(paths))


def test_an_image_folder_that_cannot_be_written_is_an_error(make, write):
    """Which is no fault of the document, and so never skipped."""
    path = write("report.pdf", *REPORT)
    with pytest.raises(OptionError, match=r"image_folder must be a folder that can be written; '.*report\.pdf'"):
        list(make(image_folder=path, on_error="skip").read(path))


def test_without_pypdfium2_the_error_names_the_extra(make, write, folder, monkeypatch):
    """It is not skipped either, and pictures need none."""
    path = write("report.pdf", *REPORT)
    monkeypatch.setattr(pdfs, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"jina-vllm-integrations\[pdf\]"):
        list(make(on_error="skip").read(path))
    assert len(list(make().read(picture(folder / "scan.png")))) == 1


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
    image = PageImage(path=Path("/x.png"), sha256="", size=(1, 1))
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
    assert page_with("", n_pages=1).excerpt(5) == "[report.pdf]"


def test_many_threads_may_read_at_once(make, write):
    """PDFium takes one call at a time; the same pages come out for all."""
    paths = [
        write(
            f"{number}.pdf", *(PdfPage(text=f"{number} {page}", colour=(number / 4, page / 9, 0)) for page in range(10))
        )
        for number in range(4)
    ]
    alone = [page for path in paths for page in make().read(path)]
    reader = make()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda path: list(reader.read(path)), paths * 4))
    assert [page for pages in together for page in pages] == alone * 4


def test_a_shown_bar_counts_pages(make, write, capsys):
    """And is silent unless it is shown."""
    path = write("report.pdf", *REPORT)
    list(make().read(path))
    assert capsys.readouterr().err == ""
    list(make(show_progress=True).read(path))
    assert "reading: 3item" in capsys.readouterr().err


def test_a_program_may_end_amid_the_pages(write, image_folder):
    """Without a word from PDFium about what was left open."""
    script = (
        "import sys, tempfile; from jina_vllm_integrations.pages import PageReader\n"
        "with tempfile.TemporaryDirectory(): pass\n"  # its finalizer is registered before PDFium's
        "pages = PageReader(image_folder=sys.argv[2]).read(sys.argv[1]); print(next(pages).number)"
    )
    command = [sys.executable, "-W", "error", "-c", script, write("report.pdf", *REPORT), image_folder]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("0\n", "")
