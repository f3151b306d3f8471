"""Scans and photos as pages, as they are."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations.errors import ImageError, ImageFormatError, ImageSizeError
from jina_vllm_integrations.pages import Page
from jina_vllm_integrations.pages.records import PageImage
from page_files import BLUE, GREEN, RED, corners, picture_file, plain, tiff
from pdf_files import PdfPage

ORIENTATION, NEW_SUBFILE_TYPE = 274, 254
FORMATS = ("png", "jpg", "webp", "tiff", "gif", "bmp", "avif", "ppm")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_is_a_page_as_it_is(make, folder, image_folder, suffix):
    """Nothing is copied."""
    path = picture_file(folder / f"scan.{suffix}")
    (page,) = make().read(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert page == Page(
        source=path,
        number=0,
        n_pages=1,
        image=PageImage(source=path, uri=str(path), sha256=sha256, size=(40, 30)),
        dpi=page.dpi,
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
    (page,) = make().read(picture_file(folder / name, **({"dpi": given} if given else {})))
    assert page.dpi == (None if told is None else pytest.approx(told, abs=0.1))


def test_a_photo_is_as_large_as_it_is_shown(make, folder):
    """A camera that was held upright has its width and height in the other order."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (page,) = make().read(picture_file(folder / "photo.jpg", exif=exif))
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
    assert (page.n_pages, page.image.source) == (1, folder / "moving.gif")


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
    assert {page.image.source.parent for page in pages} == {image_folder}
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
    assert (page.image.source, page.image.size) == (folder / "a.tif", (40, 30))
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


def test_what_the_model_does_not_take_is_an_error_of_its_page(make, folder, write):
    """A strip is refused by the reader, by name, and skipped alone, instead of stopping an index later."""
    picture_file(folder / "a.png", size=(2001, 10))
    picture_file(folder / "b.png", size=(2000, 10))
    tiff(folder / "c.tif", [plain("red"), plain("lime", (10, 2001)), plain("blue")])
    write("d.pdf", PdfPage(size=(3000, 10)), PdfPage(size=(200, 100)))
    reader = make(on_error="skip")

    assert [(page.source.name, page.number) for page in reader.read(folder)] == [
        ("b.png", 0),
        ("c.tif", 0),
        ("c.tif", 2),
        ("d.pdf", 1),
    ]
    assert [(each.source.name, each.number, type(each.error)) for each in reader.skipped] == [
        ("a.png", 0, ImageSizeError),
        ("c.tif", 1, ImageSizeError),
        ("d.pdf", 0, ImageSizeError),
    ]
    assert all(each.source.name in str(each.error) for each in reader.skipped)
    assert "2001x10 of" in str(reader.skipped[0].error)


def test_a_picture_that_its_decoder_asserts_about_is_skipped(make, folder):
    """Its neighbours are read."""
    for name in ("a.png", "c.png"):
        picture_file(folder / name)
    (folder / "b.png").write_bytes(
        bytes.fromhex("89504e470d0a1a0a0000000d494844520000000100000001080300000028cb34bb0000000049454e44ae426082")
    )
    reader = make(on_error="skip")

    assert [page.source.name for page in reader.read(folder)] == ["a.png", "c.png"]
    assert [(each.source.name, type(each.error)) for each in reader.skipped] == [("b.png", ImageFormatError)]
