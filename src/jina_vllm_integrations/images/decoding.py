"""An encoded image -> upright RGB pixels, by Pillow, within a pixel limit and this process's decoding budget.

ICC profiles are not applied, as transformers does not: the model saw the samples as they are.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from jina_vllm_integrations.errors import ImageFormatError, ImageSizeError
from jina_vllm_integrations.images.damage import explained
from jina_vllm_integrations.images.decoding_budget import DECODING
from jina_vllm_integrations.images.formats import FORMATS, LONGEST_SIGNATURE, recognised
from jina_vllm_integrations.images.jpeg import check_scans
from jina_vllm_integrations.images.tiff import UNSIGNED_32_BITS, TiffFile, greys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import ImageFile

# EXIF says how the camera was held; this is what turns the picture back.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = frozenset({5, 6, 7, 8})

# Of a TIFF. A small image may be in one that is larger than itself.
_USUAL_TILE = 1024 * 1024


def open_image(file: BinaryIO, label: str, *, max_pixels: int) -> ImageFile.ImageFile:
    """Read an image's header. No pixel is decoded; ``file`` must stay open until they are.

    Raises:
        ImageFormatError: Not an image in a supported format, or a damaged header.
        ImageSizeError: More than ``max_pixels``.
        ImageError: The disk failed; so do all functions here that decode.
    """
    with explained(label):
        start = file.read(LONGEST_SIGNATURE)
        file.seek(0)
        image_format = recognised(start)
        if image_format is None:
            raise ImageFormatError(
                f"an image must be {', '.join(each.name for each in FORMATS)}; {label!r} starts with {start[:12]!r}. "
                "Convert it to one of these formats."
            )
        image = image_format.decoder(file)
    check(image, label, max_pixels=max_pixels)
    return image


def check(image: Image.Image, label: str, *, max_pixels: int) -> None:
    """Refuse what can be refused without looking at a pixel.

    Raises:
        ImageFormatError: Pixels of mode F, for which no value means white.
        ImageSizeError: No pixel at all, or more than ``max_pixels``, in the image or in a tile that it is stored in.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageSizeError(f"an image must have pixels; {label!r} is {width} x {height}. Leave it out.")
    if width * height > max_pixels:
        raise ImageSizeError(
            f"an image may have {max_pixels:,} pixels; {label!r} is {width} x {height}. "
            "Downscale it, or raise ImageLimits.max_pixels (of a URL: max_url_pixels)."
        )
    if isinstance(image, TiffFile) and image.stored_pixels > max(max_pixels, _USUAL_TILE):
        raise ImageSizeError(
            f"an image may have {max_pixels:,} pixels; {label!r} is stored in tiles of {image.stored_pixels:,}. "
            "Save it anew, or raise ImageLimits.max_pixels (of a URL: max_url_pixels)."
        )
    if image.mode == "F":
        raise ImageFormatError(
            f"an image must have a known white; {label!r} holds floating-point pixels (mode 'F'). "
            "Scale them to 0..255 and convert the image to mode 'L'."
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels as a viewer shows them, from the header alone."""
    width, height = image.size
    return (height, width) if _orientation(image) in _LYING else (width, height)


def decode(image: Image.Image, label: str) -> None:
    """Decode the pixels into ``image`` itself; does nothing where that has been done.

    Raises:
        ImageFormatError: Truncated or damaged.
        ImageSizeError: A JPEG of too many scans, or memory does not suffice.
    """
    with _decoding(image, label):
        image.load()


def to_rgb(image: Image.Image, label: str) -> Image.Image:
    """The image upright, on white, with 8 bits a channel, as a new image without metadata.

    Metadata is left behind so that nothing turns the picture a second time.

    Raises:
        ImageFormatError: Truncated, damaged, or integers outside 0..65535 of which no file says what they mean.
        ImageSizeError: A JPEG of too many scans, or memory does not suffice.
    """
    turn = _UPRIGHT.get(_orientation(image))
    with _decoding(image, label):
        page = _flattened(image, label)
        page.info.clear()
        return page if turn is None else page.transpose(turn)


@contextmanager
def _decoding(image: Image.Image, label: str) -> Iterator[None]:
    check_scans(image, label)
    with DECODING.take(image), explained(label):
        yield


def _flattened(image: Image.Image, label: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _top_8_bits(image, label).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    painted = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(painted, mask=painted)
    return page


def _top_8_bits(image: Image.Image, label: str) -> Image.Image:
    """Greyscale by its upper 8 bits, where Pillow's ``convert`` would clip everything above 255 to white.

    A TIFF says how many bits white has, and whether it is black. Else they are 16: mode I has 32, but Pillow keeps
    16-bit samples in it; other values have no defined white.
    """
    samples = np.asarray(image)
    greys = greys_of(image)
    bits = 16 if greys is None or greys.bits is None else greys.bits
    if bits == UNSIGNED_32_BITS:
        samples = samples.view(np.uint32)
    elif samples.min() < 0 or samples.max() >= 1 << bits:
        raise ImageFormatError(
            f"integer pixels must be in 0..{(1 << bits) - 1}; {label!r} holds {samples.min()}..{samples.max()}. "
            "Scale them to 0..255 and convert the image to mode 'L'."
        )
    grey = (samples >> (bits - 8)).astype(np.uint8)
    if greys is not None and greys.white_is_zero:
        grey = ~grey
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 0xFF
    return Image.fromarray(grey)


def _orientation(image: Image.Image) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow turns a TIFF by itself
    try:
        # Not image.getexif(): PNG's decodes all pixels in search of metadata behind them.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged metadata leads to anything, and turns nothing: the pixels may be fine
        return 1
