"""Documents on their way into an index of two stages: dense vectors for one, token vectors kept for the other."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.errors import renaming
from jina_vllm_integrations.token_store.keys import each_pinned

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Embedding, FloatArray, Item, Output, Request

LOT = 64
"""Documents that are written together: a few megabytes of token vectors, while the engine computes the next."""


class DocumentVectors:
    """Computes documents, each in one forward pass, and keeps their token vectors.

    Args:
        encoder: Who computes.
        token_store: Keeps token vectors; ``None``, or one that is open for reading only, to compute dense ones alone.
    """

    def __init__(self, encoder: JinaEncoder, token_store: TokenStore | None) -> None:
        self._encoder = encoder
        self._store = None if token_store is None or token_store.readonly else token_store

    def compute(self, items: Sequence[Item], lots: Iterable[range]) -> Generator[tuple[range, FloatArray]]:
        """Yield lot after lot, when its token vectors are kept; the engine computes the next while one is dealt with.

        Args:
            items: Texts and images. All are checked before any is computed.
            lots: Positions in them, in order and without gaps.

        Returns:
            Each lot with its dense vectors. *Shape:* ``(len(lot), dimensions)``, float32.

        Raises:
            InputError: An item cannot be embedded; ``index`` names it. Lots before it are kept.
            CheckpointError: The checkpoint has no multi-vector head, and there is a store.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be written.
        """
        under_way: deque[Request] = deque()

        def noted(requests: Iterator[Request]) -> Iterator[Request]:
            for request in requests:
                under_way.append(request)
                yield request

        requests = noted(each_pinned(self._requests(items)))
        with closing(self._encoder.compute(requests)) as embeddings:
            for lot in lots:
                computed = list(islice(embeddings, len(lot)))
                with renaming(lot):
                    dense = self._kept([under_way.popleft() for _ in lot], computed)
                yield lot, dense

    async def acompute(self, items: Sequence[Item], lots: Iterable[range]) -> AsyncGenerator[tuple[range, FloatArray]]:
        """Do as `compute` one lot after the other, without blocking the event loop. Cancelling stops the work."""
        requests = await asyncio.to_thread(self._requests, items)
        for lot in lots:
            with renaming(lot):
                pinned = await asyncio.to_thread(list, each_pinned(requests[lot.start : lot.stop]))
                computed = await self._encoder.acompute(pinned)
                dense = await asyncio.to_thread(self._kept, pinned, computed)
            yield lot, dense

    def _requests(self, items: Sequence[Item]) -> list[Request]:
        output: Output = "dense" if self._store is None else "both"
        return self._encoder.requests(items, role="document", output=output)

    def _kept(self, requests: Sequence[Request], embeddings: Sequence[Embedding]) -> FloatArray:
        """Keep token vectors, and return dense ones."""
        tokens = [embedding.tokens for embedding in embeddings if embedding.tokens is not None]
        if self._store is not None:
            self._store.put_many(zip(self._store.keys(self._encoder, requests), tokens, strict=True))
        dense = [embedding.dense for embedding in embeddings if embedding.dense is not None]
        return np.stack(dense)


def lots_of(number: int) -> Iterator[range]:
    """Yield the positions of so many documents, lot after lot."""
    for start in range(0, number, LOT):
        yield range(start, min(start + LOT, number))
