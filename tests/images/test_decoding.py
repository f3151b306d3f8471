"""Images become RGB as a viewer shows them: turned, on white, of every format and colour space."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFile, ImageOps

from image_sources import BLACK, BLUE, GREEN, RED, SOURCES, TRANSPARENT, WHITE, exif, lab, pixels, two
from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images import inspect
from pictures import encoded, noise


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_pixels(source, png, picture):
    """Where an image comes from changes nothing about it."""
    handle = inspect(source(png))

    assert handle.size == picture.size
    assert handle.load() == picture


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_formats_give_every_pixel(image_format, picture):
    """What was saved without loss is loaded without loss."""
    assert inspect(encoded(picture, image_format)).load() == picture


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF", "GIF", "JPEG2000"])
def test_lossy_formats_give_nearly_every_pixel(image_format):
    """A plain colour survives lossy formats within a few shades."""
    loaded = inspect(encoded(Image.new("RGB", (16, 16), (200, 100, 50)), image_format)).load()

    assert loaded.mode == "RGB"
    assert np.abs(np.asarray(loaded, dtype=int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(image_format, orientation):
    """Size and pixels are what a viewer shows."""
    content = encoded(noise(16, 8), image_format, exif=exif(orientation))
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")

    handle = inspect(content)

    assert handle.size == upright.size == ((16, 8) if orientation < 5 else (8, 16))
    assert ImageChops.difference(handle.load(), upright).getbbox() is None


def test_exif_orientation_6_turns_clockwise():
    """The left column of a picture held that way is its top row."""
    lying = Image.new("RGB", (2, 1), RED)
    lying.putpixel((1, 0), BLUE)

    assert pixels(encoded(lying, "PNG", exif=exif(6))) == [RED, BLUE]
    assert inspect(encoded(lying, "PNG", exif=exif(6))).size == (1, 2)
    assert pixels(encoded(lying, "PNG", exif=exif(3))) == [BLUE, RED]


def test_nothing_turns_the_picture_again(picture):
    """The loaded image carries no orientation that a later step could apply."""
    loaded = inspect(encoded(picture, "PNG", exif=exif(6))).load()

    assert loaded.info == {}
    assert not loaded.getexif()


def test_damaged_exif_turns_nothing(picture):
    """An image whose metadata is damaged is shown as it is stored."""
    assert inspect(encoded(picture, "PNG", exif=b"Exif\0\0no metadata at all")).load() == picture


@pytest.mark.parametrize(("image", "opaque"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparent_parts_are_white(image, opaque):
    """What is transparent is paper, however the image says so."""
    assert pixels(image) == [WHITE, opaque]


@pytest.mark.parametrize("name", ["RGBA", "LA", "P, one transparent entry", "RGB, transparent colour"])
def test_transparent_parts_of_a_file_are_white(name):
    """A PNG keeps what it says about transparency."""
    image, opaque = TRANSPARENT[name]

    assert pixels(encoded(image, "PNG")) == [WHITE, opaque]


def test_half_transparent_parts_are_mixed_with_white():
    """Black at half opacity is grey."""
    assert pixels(two("RGBA", (0, 0, 0, 128), (0, 0, 0, 255))) == [(127, 127, 127), BLACK]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(image_format):
    """An animation is its first frame, a file of several pages its first page."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **lossless)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 2

    assert set(pixels(content)) == {RED}


def test_of_a_pil_image_the_current_frame_counts():
    """Who holds an opened animation has chosen the frame."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    with Image.open(io.BytesIO(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]))) as image:
        image.seek(1)

        assert set(pixels(image)) == {GREEN}


def test_a_cmyk_jpeg_keeps_its_colours():
    """Print colours become the screen's, not their negative."""
    loaded = inspect(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")).load()

    assert np.abs(np.asarray(loaded, dtype=int) - RED).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_every_colour_space_becomes_rgb(mode):
    """White is white and black is black in every mode."""
    image = two("RGB", WHITE, BLACK)
    image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else lab(image, mode)

    assert np.abs(np.asarray(pixels(image)) - [WHITE, BLACK]).max() <= 2


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bits_are_scaled_not_clipped(mode):
    """Greys above 255 stay greys, in either byte order."""
    assert pixels(two(mode, 100 * 257, 65535)) == [(100, 100, 100), WHITE]


def test_16_bit_files_are_scaled():
    """A scan with 16 bits shows the greys that one with 8 bits shows."""
    grey = np.array([[0, 1, 128, 255]], dtype=np.uint16)

    assert pixels(encoded(Image.fromarray(grey * 257), "PNG")) == [(value,) * 3 for value in grey[0].tolist()]
    assert pixels(b"P2 2 1 65535\n0 65535\n") == [BLACK, WHITE]


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_without_a_known_white_are_refused(value):
    """Nobody knows how bright 32 bits are meant."""
    with pytest.raises(ImageFormatError, match=r"^integer pixels must be in 0\.\.65535"):
        inspect(two("I", 0, value)).load()


def test_floats_are_refused_before_any_work():
    """Nobody knows how bright 0.5 is meant, so the header is enough to say no."""
    with pytest.raises(ImageFormatError, match="mode 'F'"):
        inspect(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM", "JPEG2000"])
def test_inspecting_decodes_no_pixel(image_format, monkeypatch):
    """The header is enough, also in search of an orientation."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))

    assert inspect(encoded(noise(20, 15), image_format)).size == (20, 15)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM", "JPEG2000"])
def test_a_truncated_image_is_refused(image_format):
    """Half a page is not silently completed with grey."""
    content = encoded(noise(64, 64), image_format)

    with pytest.raises(ImageFormatError, match="complete and undamaged") as failure:
        inspect(content[: len(content) // 2]).load()
    assert failure.value.__cause__ is not None


DISGUISED = {
    "text": b"a page of text",
    "nothing": b"",
    "HTML": b"<!doctype html><html></html>",
    "PDF": b"%PDF-1.7\n1 0 obj\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "WMF": b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(40),
    "icon": encoded(Image.new("RGB", (16, 16)), "ICO"),
}


@pytest.mark.parametrize("content", DISGUISED.values(), ids=DISGUISED)
def test_content_decides_not_the_name(content, tmp_path):
    """What is no picture, or runs programs, is refused whatever it is called."""
    path = tmp_path / "page.png"
    path.write_bytes(content)

    for source in (path, content):
        with pytest.raises(ImageFormatError, match="must be PNG, JPEG"):
            inspect(source)


def test_an_unknown_name_is_no_obstacle(png, picture):
    """A picture is read whatever it is called."""
    assert inspect(png.rename(png.with_suffix(".txt"))).load() == picture
