"""Lots of documents that were computed, gathered for a store: one call of its where all fits in memory."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from jina_vllm_integrations.types import FloatArray

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

PORTION = 2048
"""Documents that are written by one call: tens of megabytes of dense vectors."""

Computed: TypeAlias = tuple[list[int], FloatArray]
"""Positions of documents, and their dense vectors. *Shape:* ``(len(positions), dimensions)``, float32."""


def portions(lots: Generator[Computed]) -> Generator[Computed]:
    """Yield lots together, as many as are written by one call. What is left of them is closed."""
    waiting: list[Computed] = []
    with closing(lots):
        for lot in lots:
            waiting.append(lot)
            if _enough(waiting):
                yield _together(waiting)
        if waiting:
            yield _together(waiting)


async def aportions(lots: AsyncGenerator[Computed]) -> AsyncGenerator[Computed]:
    """Do as `portions`, as they are computed in an event loop."""
    waiting: list[Computed] = []
    async with aclosing(lots):
        async for lot in lots:
            waiting.append(lot)
            if _enough(waiting):
                yield _together(waiting)
        if waiting:
            yield _together(waiting)


def _enough(waiting: list[Computed]) -> bool:
    return sum(len(positions) for positions, _ in waiting) >= PORTION


def _together(waiting: list[Computed]) -> Computed:
    """Take all that waits."""
    positions = [position for lot, _ in waiting for position in lot]
    vectors = np.concatenate([dense for _, dense in waiting])
    waiting.clear()
    return positions, vectors
