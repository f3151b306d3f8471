"""Which formats are decoded, by their first bytes, never by a file's name.

Only formats whose size Pillow knows before it decodes them inside this process are on the list: EPS would start
Ghostscript, an icon is decoded while it is opened. The decoders are called directly, because ``Image.open`` compares
sizes with a limit of the whole process and warns by it; here every caller has a limit of its own.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
)

from jina_vllm_integrations.errors import ImageFormatError, MissingExtraError
from jina_vllm_integrations.images.tiff import TiffFile
from jina_vllm_integrations.images.webp import WebPFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import ImageFile

LONGEST_SIGNATURE = 64


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """A format that is decoded.

    Attributes:
        name: What messages call it.
        signature: Matches how its files begin.
        suffixes: Of its files' names, in lower case.
        decoder: Opens a file, by its header alone.
    """

    name: str
    signature: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    decoder: Callable[[BinaryIO], ImageFile.ImageFile]


def _open_heif(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError as error:
        # No MissingExtraError itself: a stranger's file must not end a run over many.
        raise ImageFormatError(
            f"a HEIF image needs another decoder: {MissingExtraError('pillow_heif', extra='heif')}"
        ) from error
    image: ImageFile.ImageFile = plugin.HeifImageFile(file)
    return image


def _format(
    name: str, signature: bytes, suffixes: str, decoder: Callable[[BinaryIO], ImageFile.ImageFile]
) -> ImageFormat:
    pattern = re.compile(signature, re.DOTALL)
    return ImageFormat(name=name, signature=pattern, suffixes=tuple(suffixes.split()), decoder=decoder)


FORMATS = (
    _format("PNG", rb"\x89PNG\r\n\x1a\n", ".png .apng", PngImagePlugin.PngImageFile),
    _format("JPEG", rb"\xff\xd8\xff", ".jpg .jpeg .jpe .jfif", JpegImagePlugin.JpegImageFile),
    _format("WebP", rb"RIFF....WEBP", ".webp", WebPFile),
    _format("TIFF", rb"II[*+]\0|MM\0[*+]", ".tif .tiff", TiffFile),
    _format("GIF", rb"GIF8[79]a", ".gif", GifImagePlugin.GifImageFile),
    # Brands mif1 and msf1 say only that it is a picture or several; behind them are the brands of its codec.
    _format(
        "AVIF", rb"....ftyp(avi[fs]|(mif1|msf1).{4}(.{4}){0,10}?avi[fs])", ".avif .avifs", AvifImagePlugin.AvifImageFile
    ),
    _format("HEIF", rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", ".heic .heif .heics .heifs .hif", _open_heif),
    _format(
        "JPEG 2000",
        rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
        ".jp2 .j2k .j2c .jpc .jpf .jpx",
        Jpeg2KImagePlugin.Jpeg2KImageFile,
    ),
    # Two letters are too little, a text may begin with them; behind is the size of the header, which is one of these.
    _format("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", ".bmp", BmpImagePlugin.BmpImageFile),
    _format("PPM", rb"P[1-6]\s+(#|\d+\s+(#|\d+\s))", ".ppm .pgm .pbm .pnm", PpmImagePlugin.PpmImageFile),
)

IMAGE_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Of files in these formats."""


def recognised(start: bytes) -> ImageFormat | None:
    """Return the format of a file that begins so; ``None`` for none of these.

    Args:
        start: At least ``LONGEST_SIGNATURE`` bytes, unless the file has less.
    """
    return next((each for each in FORMATS if each.signature.match(start)), None)
