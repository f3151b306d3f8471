"""TIFF files: which of their frames are pages, and what their greys mean."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Self

from PIL import Image, TiffImagePlugin

from jina_vllm_integrations.errors import ImageSizeError
from jina_vllm_integrations.images.damage import explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_FRAMES = 10_000
"""Of one file. Looking for frames takes a time that grows with their number, not with what a page costs."""

UNSIGNED_32_BITS = 32
"""Which Pillow keeps in the bits of signed ones."""

_BITS_PER_SAMPLE = 258
_SAMPLE_FORMAT = 339
_UNSIGNED, _SIGNED = 1, 2
_PHOTOMETRIC = 262
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_DEEPER_THAN_BYTES = frozenset({12, 16, UNSIGNED_32_BITS})

# What a frame is, and the bits of it for a smaller copy and for a mask of another frame.
_NEW_SUBFILE_TYPE = 254
_NO_PAGE = 0b101
_SHORT = 3
# It is the lowest tag that frames usually have, and they are sorted.
_MOST_TAGS = 64


@dataclass(frozen=True, kw_only=True)
class Greys:
    """What the samples of a grey picture with more than 8 bits mean.

    Attributes:
        bits: Of a sample, which all ones make as bright, or dark, as can be. ``None`` for signed samples, of which
            nobody knows.
        white_is_zero: Whether all ones are black.
    """

    bits: int | None
    white_is_zero: bool

    @classmethod
    def of(cls, tags: Mapping[int, Any]) -> Self | None:
        """Return the greys of a frame with these tags; ``None`` for colours, floats, and depths that Pillow knows."""
        bits = tags.get(_BITS_PER_SAMPLE, (1,))
        photometric = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO)
        sample_format = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0]
        if len(bits) != 1 or bits[0] not in _DEEPER_THAN_BYTES or photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            return None
        if sample_format not in (_UNSIGNED, _SIGNED):
            return None
        return cls(bits=bits[0] if sample_format == _UNSIGNED else None, white_is_zero=photometric == _WHITE_IS_ZERO)


class TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF that Pillow reads with what it misses, and without its own size check.

    Pillow would warn about a large scan that the caller's limit allows.

    Attributes:
        greys: What the current frame's samples mean.
        stored_pixels: How many pixels are decoded at once: those of the frame, or of a tile that is larger.
    """

    greys: Greys | None = None
    stored_pixels: int = 0

    def load_prepare(self) -> None:
        """Make room for the pixels as they are stored, before they are turned."""
        stored_size = (self.tag_v2[TiffImagePlugin.IMAGEWIDTH], self.tag_v2[TiffImagePlugin.IMAGELENGTH])
        self.im = Image.new(self.mode, stored_size).im
        super().load_prepare()

    def _setup(self) -> None:
        self.greys = Greys.of(self.tag_v2)
        if self.greys is not None:
            # Pillow reads these greys in fewer combinations of byte order and meaning; the bits are the same.
            self.tag_v2[_PHOTOMETRIC] = _BLACK_IS_ZERO
            if self.greys.bits == UNSIGNED_32_BITS:
                self.tag_v2[_SAMPLE_FORMAT] = (_SIGNED,)
        super()._setup()
        tile = int(self.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0)) * int(self.tag_v2.get(TiffImagePlugin.TILELENGTH, 0))
        self.stored_pixels = max(self.width * self.height, tile)
        # libtiff has put the bytes into this machine's order.
        self.tile = [
            tile._replace(args=("I;32N", *tile.args[1:]))
            if tile.codec_name == "libtiff" and isinstance(tile.args, tuple) and tile.args[0] == "I;32BS"
            else tile
            for tile in self.tile
        ]


def greys_of(image: Image.Image) -> Greys | None:
    """Return what an image's samples mean, if it is a TIFF that says so, whoever opened it."""
    if isinstance(image, TiffFile):
        return image.greys
    return Greys.of(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def page_frames(file: IO[bytes], label: str) -> list[int]:
    """Return which frames of an open TIFF are pages, and not smaller copies or masks of others; never none.

    Raises:
        ImageSizeError: There are more than `MAX_FRAMES`.
        ValueError: The list of frames is damaged, or an error like it.
    """
    kinds = list(islice(_frame_kinds(file), MAX_FRAMES + 1))
    if len(kinds) > MAX_FRAMES:
        raise ImageSizeError(f"a TIFF may have {MAX_FRAMES:,} frames; {label!r} has more. Split it into several files.")
    return [frame for frame, kind in enumerate(kinds) if not kind & _NO_PAGE] or [0]


def frames_of(image: Image.Image, file: IO[bytes], label: str) -> list[int]:
    """Return which frames of an open image are pages: of an animation, only the first. See `page_frames`.

    Args:
        image: Opened out of the file.
        file: Open.
        label: Which image it is, for messages.

    Raises:
        ImageSizeError: It is a TIFF of too many frames.
        ImageError: It is a TIFF, and its list of frames is damaged.
    """
    if not isinstance(image, TiffFile):
        return [0]
    with explained(label):
        return page_frames(file, label)


def has_pages(file: IO[bytes]) -> bool:
    """Return whether an open TIFF has more than one page. Looks no further than that."""
    pages = (kind for kind in islice(_frame_kinds(file), MAX_FRAMES) if not kind & _NO_PAGE)
    return len(list(islice(pages, 2))) > 1


def _frame_kinds(file: IO[bytes]) -> Iterator[int]:
    """Yield each frame's kind and read no other tag: Pillow's way to the last takes the square of the time."""
    file.seek(0)
    start = file.read(8)
    order = "<" if start.startswith(b"II") else ">"
    big = b"+" in start[2:4]
    count, entry, offset = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    place = _read(file, 8 if big else 4, order + offset)
    seen: set[int] = set()
    while place and place not in seen:
        seen.add(place)
        n_tags = _read(file, place, order + count)
        file.seek(place + struct.calcsize(order + count))
        n_bytes = struct.calcsize(order + entry)
        yield _kind(file.read(min(n_tags, _MOST_TAGS) * n_bytes), order, big=big)
        place = _read(file, place + struct.calcsize(order + count) + n_tags * n_bytes, order + offset)


def _kind(directory: bytes, order: str, *, big: bool) -> int:
    width, value_at = (20, 12) if big else (12, 8)
    for start in range(0, len(directory) - width + 1, width):
        tag, field_type = struct.unpack_from(order + "HH", directory, start)
        if tag == _NEW_SUBFILE_TYPE:
            kind: int
            (kind,) = struct.unpack_from(order + ("H" if field_type == _SHORT else "I"), directory, start + value_at)
            return kind
    return 0


def _read(file: IO[bytes], place: int, form: str) -> int:
    file.seek(place)
    number: int
    (number,) = struct.unpack(form, file.read(struct.calcsize(form)))
    return number
