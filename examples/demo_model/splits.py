"""Which part of the data a line of text belongs to: the text itself decides, so no two parts ever share one."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
_TENTHS: tuple[Split, ...] = ("validation", "test", *("train",) * 8)


def split_of(line: str) -> Split:
    """Return the part that a line belongs to: eight in ten are for training, one is for each of the others."""
    return _TENTHS[hashlib.sha256(line.encode()).digest()[0] % len(_TENTHS)]
