"""Images are untrusted: how many pixels and bytes of them are read."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import pytest
from PIL import Image, ImageFile

from image_sources import SOURCES
from jina_vllm_integrations.errors import ImageSizeError, OptionError
from jina_vllm_integrations.images import ImageLimits, inspect
from pictures import encoded, noise


def png_header(width, height):
    """A PNG that ends before its pixels, with a correct checksum."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">II", zlib.crc32(chunk), 0) + b"IDAT"


def bmp_header(width, height):
    """A BMP that ends before its pixels."""
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


@pytest.mark.parametrize("header", [png_header(100_000, 100_000), bmp_header(100_000, 100_000)], ids=["PNG", "BMP"])
def test_a_decompression_bomb_is_refused_by_its_header(header):
    """Ten thousand million pixels are refused though none is there to decode."""
    with pytest.raises(ImageSizeError, match="100000 x 100000"):
        inspect(header)


def test_the_pixel_limit_is_the_callers(picture):
    """A limit is the largest size that is taken, for encoded and for PIL images."""
    for source in (encoded(picture, "PNG"), picture):
        assert inspect(source, ImageLimits(max_pixels=35)).size == (7, 5)
        with pytest.raises(ImageSizeError, match=r"ImageLimits\.max_pixels"):
            inspect(source, ImageLimits(max_pixels=34))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM"])
def test_pillows_suspicion_is_not_heard(image_format, monkeypatch):
    """An image within the limits is loaded without Pillow's warning, which would be an error here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)

    assert inspect(encoded(noise(20, 15), image_format)).load().size == (20, 15)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_high_limit_overrides_pillows(image_format, monkeypatch):
    """Who raises the limit need not change Pillow's for the whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    assert inspect(encoded(noise(20, 15), image_format)).load().size == (20, 15)


@pytest.mark.parametrize("pillows_limit", [10, 200], ids=["error", "warning as an error"])
def test_where_pillow_refuses_a_size_the_message_says_so(pillows_limit, monkeypatch):
    """What Pillow's GIF decoder says about a frame larger than the screen becomes an error of this package."""
    content = bytearray(encoded(noise(20, 15), "GIF"))
    content[6:10] = struct.pack("<HH", 1, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)

    with pytest.raises(ImageSizeError, match="MAX_IMAGE_PIXELS"):
        inspect(content)


def test_the_process_keeps_its_settings(png):
    """Nothing that other threads rely on is changed, not even for a while that one could notice afterwards."""
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))

    inspect(png).load()

    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(size):
    """There is nothing to embed."""
    with pytest.raises(ImageSizeError, match="must have pixels"):
        inspect(Image.new("RGB", size))


def test_the_byte_limit_holds_for_every_source(png):
    """One byte too many is refused, wherever it comes from."""
    n_bytes = png.stat().st_size
    for name in ("path", "bytes", "data URI", "binary file"):
        source = SOURCES[name]
        assert inspect(source(png), ImageLimits(max_bytes=n_bytes)).size == (7, 5)
        with pytest.raises(ImageSizeError, match=r"ImageLimits\.max_bytes"):
            inspect(source(png), ImageLimits(max_bytes=n_bytes - 1))


def test_a_file_is_read_no_further_than_the_limit():
    """An endless stream costs the limit and one byte."""

    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(ImageSizeError):
        inspect(endless, ImageLimits(max_bytes=1000))
    assert endless.given == 1001


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": 0},
        {"max_pixels": 1.5},
        {"max_redirects": -1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": "20"},
        {"private_hosts": "images.example.com"},
        {"private_hosts": frozenset({"http://images.example.com"})},
        {"private_hosts": frozenset({"images.example.com:8080"})},
    ],
    ids=str,
)
def test_limits_must_make_sense(options):
    """A limit that limits nothing is a mistake."""
    with pytest.raises(OptionError, match=next(iter(options))):
        ImageLimits(**options)
