"""Bars for long work."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from tqdm import tqdm


def progress_bar(items: object, doing: str, *, shown: bool) -> tqdm[Any]:
    """Return a bar that counts items: to their number where it is known, silent unless it is shown."""
    return tqdm(desc=doing, unit="item", total=len(items) if isinstance(items, Sized) else None, disable=not shown)
