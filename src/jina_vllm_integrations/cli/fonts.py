"""Whether this machine has fonts in which PDFs' Chinese, Japanese and Korean is drawn."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where PDFium looks.
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/X11/fonts")

_LANGUAGES = ("zh", "ja", "ko")
_CJK_NAME = re.compile(
    r"cjk|wqy|wenquanyi|uming|ukai|takao|ipa[gm]|vl-p?gothic|droidsansfallback|nanum|baekmuk|simsun|msgothic|source-?han",
    re.IGNORECASE,
)


def has_cjk_fonts(folders: Iterable[str] = FONT_FOLDERS) -> bool:
    """Return whether fontconfig lists such a font, or one of these folders has a file of such a name."""
    return _listed() or any(
        _CJK_NAME.search(file.name) for folder in folders for file in Path(folder).rglob("*.[ot]t?")
    )


def _listed() -> bool:
    command = shutil.which("fc-list")
    if command is None:
        return False
    listed = (
        subprocess.run([command, f":lang={language}", "file"], capture_output=True, check=False)
        for language in _LANGUAGES
    )
    return any(each.stdout.strip() for each in listed)
