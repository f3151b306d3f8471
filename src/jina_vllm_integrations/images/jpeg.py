"""What a JPEG costs beyond its pixels: each of its scans goes over all of them, however few bytes it has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PIL import JpegImagePlugin

from jina_vllm_integrations.errors import ImageSizeError
from jina_vllm_integrations.images.damage import explained

if TYPE_CHECKING:
    from PIL import Image

MAX_SCANS = 100
"""Encoders write about ten; the finest script that the format allows for three colours has fewer than 100."""

_MARKER = 0xFF
_START_OF_SCAN = b"\xff\xda"
# In a scan's data, 0xFF is followed by 0, or by the number of a restart.
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})


def check_scans(image: Image.Image, label: str) -> None:
    """Refuse an open JPEG of more scans than encoders write, before any is decoded. Other images pass.

    Raises:
        ImageSizeError: It has more than `MAX_SCANS`.
        ImageError: It cannot be read.
    """
    if type(image) is not JpegImagePlugin.JpegImageFile or image.fp is None or not image.tile:
        return
    with explained(label):
        image.fp.seek(0)
        content = image.fp.read()
    # The bytes of a marker may be in metadata as well, so they are counted one by one only where there are many.
    if content.count(_START_OF_SCAN) > MAX_SCANS and n_scans(content) > MAX_SCANS:
        raise ImageSizeError(
            f"a JPEG may have {MAX_SCANS} scans, each of which takes as long as a picture; {label!r} has more. "
            "Save it anew."
        )


def n_scans(content: bytes) -> int:
    """Return how many scans a JPEG's segments are, up to its end or to what is none."""
    found, place = 0, 2
    while place + 4 <= len(content) and content[place] == _MARKER:
        marker = content[place + 1]
        if marker == _MARKER:
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
            if marker == _START_OF_SCAN[1]:
                found += 1
                end = _END_OF_SCAN.search(content, place)
                place = len(content) if end is None else end.start()
    return found
