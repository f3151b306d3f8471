"""What a JPEG costs beyond its pixels: each of its scans goes over all of them, however few bytes it has."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from PIL import JpegImagePlugin

from jina_vllm_integrations.errors import ImageSizeError
from jina_vllm_integrations.images.damage import explained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

MAX_SCANS = 100
"""Encoders write about ten."""

MAX_SEGMENTS = 10_000
"""Scans, tables and pieces of metadata together."""

START_OF_SCAN = 0xDA
_SCANS_BEGINNING = b"\xff\xda"
# As libjpeg looks for one: past whatever is none. In a scan's data, 0xFF is followed by 0, or by a restart's number.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = frozenset({0x01, 0xD8})


def check_scans(image: Image.Image, label: str) -> None:
    """Refuse an open JPEG of more scans than encoders write, before any is decoded. Other images pass.

    Raises:
        ImageSizeError: It has more than `MAX_SCANS`, or more than `MAX_SEGMENTS`.
        ImageError: It cannot be read.
    """
    if type(image) is not JpegImagePlugin.JpegImageFile or image.fp is None or not image.tile:
        return
    with explained(label):
        image.fp.seek(0)
        content = image.fp.read()
    # The bytes of a marker may be in metadata as well, so segments are walked only where there are many of them.
    if content.count(_SCANS_BEGINNING) <= MAX_SCANS:
        return
    kinds = list(islice(segments(content), MAX_SEGMENTS + 1))
    if len(kinds) > MAX_SEGMENTS or kinds.count(START_OF_SCAN) > MAX_SCANS:
        raise ImageSizeError(
            f"a JPEG may have {MAX_SCANS} scans, each of which takes as long as a picture, and {MAX_SEGMENTS:,} "
            f"segments in all; {label!r} has more. Save it anew."
        )


def segments(content: bytes) -> Iterator[int]:
    """Yield the kind of each segment, up to the end of the image."""
    place = 2
    while found := _MARKER.search(content, place):
        (kind,) = found.group(1)
        if kind == _END_OF_IMAGE:
            return
        yield kind
        place = found.end()
        if kind not in _WITHOUT_LENGTH:
            place += int.from_bytes(content[place : place + 2])
