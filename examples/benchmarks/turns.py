"""Two ways to do the same, timed by turns: what disturbs the machine disturbs both."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def compared(
    size: int, plain: Callable[[], object], adapted: Callable[[], object], rounds: int, *, adapter: str
) -> dict[str, Any]:
    """Time the encoder's way and an adapter's by turns, the first of each round by turns as well.

    Args:
        size: How many texts each way embeds.
        plain: The encoder's way.
        adapted: The adapter's.
        rounds: How many times each.
        adapter: Its name in the figures.
    """
    timed(plain), timed(adapted)
    pairs = []
    for number in range(rounds):
        if number % 2:
            ours = timed(adapted)
            pairs.append((timed(plain), ours))
        else:
            pairs.append((timed(plain), timed(adapted)))
    return {
        "median_texts_per_second": {
            "JinaEncoder": round(size / median(plain for plain, _ in pairs)),
            adapter: round(size / median(ours for _, ours in pairs)),
        },
        "median_ratio_of_times (target: at most 1.02)": round(median(ours / plain for plain, ours in pairs), 4),
        "seconds": [[round(plain, 3), round(ours, 3)] for plain, ours in pairs],
    }


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
