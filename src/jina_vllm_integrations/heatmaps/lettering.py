"""Lines of text in pictures."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from PIL import ImageFont

from jina_vllm_integrations.errors import OptionError

if TYPE_CHECKING:
    import os

    from PIL import ImageDraw

_SIZE = 14
_SPACE = 3
# On most Linux machines, and covers Europe's alphabets; Pillow's own font is plain ASCII.
_USUAL = "DejaVuSans.ttf"
_IN_NO_FONT = "\U0010ffff"
_CUT = ".."


class Lettering:
    r"""Writes lines in one font. What the font cannot draw is written as an escape of ASCII, e.g. ``\u6771``.

    Args:
        font: A font file; ``None`` for DejaVu Sans where it is installed, else for Pillow's own.

    Raises:
        OptionError: It cannot be read.
    """

    def __init__(self, font: str | os.PathLike[str] | None) -> None:
        self._font = _usual_font() if font is None else _font_of(font)

    def write(
        self,
        draw: ImageDraw.ImageDraw,
        corner: tuple[int, int],
        left: str,
        right: str = "",
        *,
        width: int,
        ink: tuple[int, int, int],
    ) -> None:
        """Write a line, one text at its left end, which is cut where it is too long, and one at its right end.

        Args:
            draw: Where to.
            corner: The line's upper left corner, in pixels.
            left: What may be cut.
            right: What may not.
            width: Of the line, in pixels.
            ink: The colour.
        """
        x, y = corner
        room = width - self._font.getlength(right) - _SPACE * bool(right)
        draw.text((x, y + _SPACE), self._cut(self._drawable(left), room), fill=ink, font=self._font)
        draw.text((x + width - self._font.getlength(right), y + _SPACE), right, fill=ink, font=self._font)

    def _cut(self, text: str, room: float) -> str:
        if self._font.getlength(text) <= room:
            return text
        while text and self._font.getlength(text + _CUT) > room:
            text = text[:-1]
        return text + _CUT

    def _drawable(self, text: str) -> str:
        return "".join(
            character if self._can_draw(character) else character.encode("unicode_escape").decode()
            for character in text
        )

    def _can_draw(self, character: str) -> bool:
        return character.isprintable() and bytes(self._font.getmask(character)) != self._missing

    @cached_property
    def _missing(self) -> bytes:
        """What the font draws in place of what it lacks."""
        return bytes(self._font.getmask(_IN_NO_FONT))


def _usual_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(_USUAL, _SIZE)
    except OSError:
        return ImageFont.load_default(_SIZE)


def _font_of(file: str | os.PathLike[str]) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(file, _SIZE)
    except OSError as error:
        raise OptionError(
            f"the font must be a TrueType or OpenType file, {str(file)!r} cannot be read ({error}). Name another."
        ) from error
