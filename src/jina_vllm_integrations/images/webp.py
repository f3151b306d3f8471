"""WebP files, of which only the header is read until they are decoded.

libwebp's decoder has two canvases from the moment when it is made, so a file of a few bytes that declares a large
one takes gigabytes while it is merely looked at.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from PIL import WebPImagePlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

_RIFF_HEADER = 12
_CHUNK_HEADER = 8
_ALPHA = 0b10000
# That are looked at for metadata; each frame of an animation is one.
_MOST_CHUNKS = 10_000


class WebPFile(WebPImagePlugin.WebPImageFile):
    """A WebP whose decoder is made when pixels are asked for."""

    _decoder: Any = None

    def _open(self) -> None:
        assert self.fp is not None
        self._mode = "RGB"
        for name, start, n_bytes in islice(_chunks(self.fp), _MOST_CHUNKS):
            self.fp.seek(start)
            if name in _HEADERS and self._size == (0, 0):
                self._size, self._mode = _HEADERS[name](self.fp.read(10))
            elif name == b"EXIF":
                self.info["exif"] = self.fp.read(n_bytes)

    def load(self) -> Any:
        """Make the decoder, unless it is there, and decode the first frame."""
        if self._decoder is None:
            assert self.fp is not None
            declared = self.size
            self.fp.seek(0)
            super()._open()
            if self.size != declared:
                raise ValueError(f"its header says {declared}, and its pictures {self.size}")
        return super().load()


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, where its content begins, and of how many bytes that is."""
    start = _RIFF_HEADER
    while True:
        file.seek(start)
        header = file.read(_CHUNK_HEADER)
        if len(header) < _CHUNK_HEADER:
            return
        name, n_bytes = struct.unpack("<4sI", header)
        start += _CHUNK_HEADER
        yield name, start, n_bytes
        start += n_bytes + n_bytes % 2


def _extended(content: bytes) -> tuple[tuple[int, int], str]:
    width, height = (int.from_bytes(content[place : place + 3], "little") + 1 for place in (4, 7))
    return (width, height), "RGBA" if content[0] & _ALPHA else "RGB"


def _lossy(content: bytes) -> tuple[tuple[int, int], str]:
    width, height = struct.unpack_from("<HH", content, 6)
    return (width & 0x3FFF, height & 0x3FFF), "RGB"


def _lossless(content: bytes) -> tuple[tuple[int, int], str]:
    (bits,) = struct.unpack_from("<I", content, 1)
    return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), "RGBA" if bits >> 28 & 1 else "RGB"


_HEADERS = {b"VP8X": _extended, b"VP8 ": _lossy, b"VP8L": _lossless}
