"""Whatever a decoder raises is an error of this package that names the image."""

from __future__ import annotations

import errno
import random

import pytest
from PIL import Image, ImageFile

from jina_vllm_integrations.errors import ImageError, ImageFormatError, ImageSizeError
from jina_vllm_integrations.images import ImageLimits, inspect
from pictures import encoded, noise

PALETTE_WITHOUT_COLOURS = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080300000028cb34bb0000000049454e44ae426082"
)


def test_a_palette_that_is_missing_is_named():
    """Pillow asserts that it is there, which is no error that callers know."""
    with pytest.raises(ImageFormatError, match="'bytes' cannot be decoded") as failure:
        inspect(PALETTE_WITHOUT_COLOURS).load()
    assert failure.value.__cause__ is not None


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (MemoryError(), ImageSizeError, "must fit into memory"),
        (OSError(errno.EIO, "Input/output error"), ImageError, r"cannot be read \(Input/output error\)"),
        (OSError(errno.EINVAL, "Invalid argument"), ImageFormatError, "complete and undamaged"),
        (OSError("broken data stream"), ImageFormatError, "complete and undamaged"),
        (AssertionError(), ImageFormatError, r"cannot be decoded \(AssertionError\)"),
        (UserWarning("a warning as an error"), ImageFormatError, "a warning as an error"),
        (ZeroDivisionError("division"), ImageFormatError, "division"),
    ],
    ids=repr,
)
def test_what_a_decoder_raises_is_translated(raised, expected, message, png, monkeypatch):
    """Memory that does not suffice, a disk that fails and every kind of damage are told apart."""

    def fail(_):
        raise raised

    handle = inspect(png)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)

    with pytest.raises(expected, match=message) as failure:
        handle.load()
    assert type(failure.value) is expected
    assert str(png) in str(failure.value)


def test_an_interruption_is_nothing_about_the_image(png, monkeypatch):
    """Who stops the program stops it."""

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", stop)
    with pytest.raises(KeyboardInterrupt):
        inspect(png).load()


def variants():
    """Yield small pictures of all formats, each in several ways."""
    rgb, grey = noise(24, 18), noise(24, 18).convert("L")
    frames = {"save_all": True, "append_images": [noise(24, 18).rotate(180)]}
    for image_format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM", "JPEG2000"):
        yield encoded(rgb, image_format)
        yield encoded(grey, image_format)
    for image_format in ("PNG", "WEBP", "TIFF", "GIF", "AVIF"):
        yield encoded(rgb, image_format, **frames)
    yield encoded(rgb, "JPEG", progressive=True)
    yield encoded(rgb.quantize(8), "PNG", transparency=0)
    yield encoded(rgb.convert("RGBA"), "WEBP", lossless=True)
    yield encoded(Image.new("I;16", (24, 18), 7), "TIFF")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield encoded(rgb, "TIFF", compression=compression)
    yield encoded(grey.convert("1"), "TIFF", compression="group4")


def mutated(content, chance):
    """Return a file with a few bytes changed, most of them in its first half, or cut, doubled or left out."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place = min(chance.randrange(len(changed)), chance.randrange(len(changed)))
        match chance.randrange(5):
            case 0:
                del changed[place + 12 :]
            case 1:
                changed[place : place + 4] = changed[place : place + 4] * 2
            case 2:
                changed[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case _:
                changed[place] = chance.randrange(256)
    return bytes(changed)


def test_mutated_pictures_end_in_a_picture_or_a_named_error(capfd):
    """A thousand of them, of all formats: nothing else is raised, and nothing dies."""
    chance = random.Random(7)
    files = list(variants())
    limits = ImageLimits(max_pixels=1_000_000)
    outcomes = {"picture": 0, "error": 0}
    for number in range(1000):
        content = mutated(files[number % len(files)], chance)
        try:
            page = inspect(content, limits).load()
        except ImageError:
            outcomes["error"] += 1
        else:
            assert page.mode == "RGB"
            outcomes["picture"] += 1
    capfd.readouterr()  # libraries below Pillow talk of damage
    assert min(outcomes.values()) > 100
