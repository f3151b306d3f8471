"""An encoded image -> upright RGB pixels, by Pillow, within a pixel limit.

The first bytes choose the decoder, never a file's name. Only formats that Pillow decodes inside this process, and
whose size it knows before it decodes, are on the list: EPS would start Ghostscript, an icon is decoded while it is
opened. The decoders are called directly, because ``Image.open`` compares sizes with a limit of the whole process
and warns by it; here every caller has a limit of its own.
"""

from __future__ import annotations

import re
import struct
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from jina_vllm_integrations.errors import ImageError, ImageFormatError, ImageSizeError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF without Pillow's own size check, which would warn about a large scan that the caller's limit allows."""

    def load_prepare(self) -> None:
        stored_size = (self.tag_v2[TiffImagePlugin.IMAGEWIDTH], self.tag_v2[TiffImagePlugin.IMAGELENGTH])
        self.im = Image.new(self.mode, stored_size).im
        super().load_prepare()


_DECODERS: dict[str, tuple[re.Pattern[bytes], type[ImageFile.ImageFile]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    "WebP": (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), _TiffFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    "AVIF": (re.compile(rb"....ftyp(avif|avis|mif1|msf1)", re.DOTALL), AvifImagePlugin.AvifImageFile),
    "BMP": (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    "PPM": (re.compile(rb"P[1-6]\s"), PpmImagePlugin.PpmImageFile),
}
_LONGEST_SIGNATURE = 12

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Of files in these formats: which files of a folder are taken for images."""

# What Pillow raises on bytes that are not what they say. `Warning` is there because a process may turn its warnings
# into errors.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
    Warning,
)

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

_WHITE_OF_16_BITS = 0xFFFF


def open_image(file: BinaryIO, label: str, *, max_pixels: int) -> ImageFile.ImageFile:
    """Read an image's header. No pixel is decoded; ``file`` must stay open until they are.

    Raises:
        ImageFormatError: Not an image in a supported format, or a damaged header.
        ImageSizeError: More than ``max_pixels``.
    """
    start = file.read(_LONGEST_SIGNATURE)
    file.seek(0)
    decoder = next((decoder for signature, decoder in _DECODERS.values() if signature.match(start)), None)
    if decoder is None:
        raise ImageFormatError(
            f"an image must be {', '.join(_DECODERS)}; {label!r} starts with {start!r}. "
            "Convert it to one of these formats."
        )
    with _explained(label):
        image = decoder(file)
    check(image, label, max_pixels=max_pixels)
    return image


def check(image: Image.Image, label: str, *, max_pixels: int) -> None:
    """Refuse what can be refused without looking at a pixel.

    Raises:
        ImageFormatError: Pixels of mode F, for which no value means white.
        ImageSizeError: No pixel at all, or more than ``max_pixels``.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageSizeError(f"an image must have pixels; {label!r} is {width} x {height}. Leave it out.")
    if width * height > max_pixels:
        raise ImageSizeError(
            f"an image may have {max_pixels:,} pixels; {label!r} is {width} x {height}. "
            "Downscale it, or raise ImageLimits.max_pixels."
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
    """
    with _explained(label):
        image.load()


def to_rgb(image: Image.Image, label: str) -> Image.Image:
    """The image upright, on white, with 8 bits a channel, as a new image without metadata.

    Metadata is left behind so that nothing turns the picture a second time.

    Raises:
        ImageFormatError: Truncated, damaged, or 32-bit integers outside 0..65535.
    """
    turn = _UPRIGHT.get(_orientation(image))
    with _explained(label):
        page = _flattened(image, label)
        page.info.clear()
        return page if turn is None else page.transpose(turn)


def _flattened(image: Image.Image, label: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _top_8_of_16_bits(image, label).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    painted = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(painted, mask=painted)
    return page


def _top_8_of_16_bits(image: Image.Image, label: str) -> Image.Image:
    """Greyscale by halving the depth, where Pillow's ``convert`` would clip everything above 255 to white.

    Mode I has 32 bits, but Pillow keeps 16-bit samples in it; other values have no defined white.
    """
    samples = np.asarray(image)
    if samples.min() < 0 or samples.max() > _WHITE_OF_16_BITS:
        raise ImageFormatError(
            f"integer pixels must be in 0..65535; {label!r} holds {samples.min()}..{samples.max()}. "
            "Scale them to 0..255 and convert the image to mode 'L'."
        )
    grey = (samples >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 0xFF
    return Image.fromarray(grey)


def _orientation(image: Image.Image) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1  # Pillow turns a TIFF by itself
    try:
        # Not image.getexif(): PNG's decodes all pixels in search of metadata behind them.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except DAMAGE:
        return 1  # damaged metadata turns nothing: the pixels may be fine


@contextmanager
def _explained(label: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError(
            f"Pillow refuses the size of {label!r} ({error}). "
            "Downscale it, or raise PIL.Image.MAX_IMAGE_PIXELS in your program."
        ) from error
    except DAMAGE as error:
        raise ImageFormatError(
            f"an image must be complete and undamaged; {label!r} cannot be decoded ({error or type(error).__name__}). "
            "Export or download it again."
        ) from error
