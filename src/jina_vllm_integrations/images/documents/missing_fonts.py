"""Text of a PDF's page that is not drawn: its font is neither in the file nor on this machine. Runs beside PDFium.

PDFium brings Latin fonts of its own. Of other scripts it draws what is not embedded in a font of the machine's, and
where there is none, nothing, without a word.
"""

from __future__ import annotations

import ctypes
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Letters from Greek on. Signs, such as bullets, are in PDFium's own fonts, or are blank.
_BEYOND_LATIN = re.compile(r"[\u0370-\u1fff\u2c00-\uffff]")

_SIZE = 10.0  # of a glyph whose outline is asked for; any will do


def missing_fonts(page: Any, text: str) -> tuple[str, ...]:
    """Return the names of fonts of which a page shows letters that are not drawn.

    Args:
        page: Open.
        text: The page's. Only one with letters beyond Latin is looked at closely.
    """
    if not _BEYOND_LATIN.search(text):
        return ()
    seen: dict[tuple[int, int], None] = {}
    missing: dict[str, None] = {}
    with closing(page.get_textpage()) as text_layer:
        for letter, font in _letters(text_layer):
            key = (_address(font), letter)
            if key not in seen:
                seen[key] = None
                if not _is_drawn(font, letter):
                    missing[_name(font)] = None
    return tuple(missing)


def _letters(text_layer: Any) -> Iterator[tuple[int, Any]]:
    """Yield the letters beyond Latin that are meant to be seen, as code points, each with its font."""
    from pypdfium2 import raw

    for index in range(text_layer.count_chars()):
        letter = raw.FPDFText_GetUnicode(text_layer, index)
        if not _BEYOND_LATIN.match(chr(letter)) or not chr(letter).isalpha():
            continue
        shown = raw.FPDFText_GetTextObject(text_layer, index)
        if shown and raw.FPDFTextObj_GetTextRenderMode(shown) != raw.FPDF_TEXTRENDERMODE_INVISIBLE:
            yield letter, raw.FPDFTextObj_GetFont(shown)


def _is_drawn(font: Any, letter: int) -> bool:
    from pypdfium2 import raw

    return raw.FPDFFont_GetIsEmbedded(font) != 0 or bool(raw.FPDFFont_GetGlyphPath(font, letter, _SIZE))


def _name(font: Any) -> str:
    from pypdfium2 import raw

    size = raw.FPDFFont_GetBaseFontName(font, None, 0)
    name = ctypes.create_string_buffer(size)
    raw.FPDFFont_GetBaseFontName(font, name, size)
    return name.value.decode("utf-8", "replace")


def _address(font: Any) -> int:
    return ctypes.cast(font, ctypes.c_void_p).value or 0
