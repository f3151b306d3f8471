"""Nodes on their way into an index, reported as an embedding reports what it computes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from jina_vllm_integrations.adapters.batches import python_floats
from jina_vllm_integrations.adapters.document_vectors import LOT
from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Sequence

    from jina_vllm_integrations.adapters.document_vectors import DocumentVectors
    from jina_vllm_integrations.adapters.portions import Computed
    from jina_vllm_integrations.llama_index.embedding import JinaVLLMEmbedding
    from jina_vllm_integrations.types import Item


def reported(
    vectors: DocumentVectors, embedding: JinaVLLMEmbedding, items: Sequence[Item | InputError]
) -> Generator[Computed]:
    """Do as `DocumentVectors.compute`, batch after batch of the embedding, each with its events and rate limit."""
    requests = vectors.requests(items)
    for batch in _batches(len(items), embedding.embed_batch_size):
        with embedding.reporting() as end:
            computed = list(vectors.computed(requests, _lots(batch)))
            end(*_told(items, computed))
        yield from computed


async def areported(
    vectors: DocumentVectors, embedding: JinaVLLMEmbedding, items: Sequence[Item | InputError]
) -> AsyncGenerator[Computed]:
    """Do as `reported`, without blocking the event loop."""
    requests = await asyncio.to_thread(vectors.requests, items)
    for batch in _batches(len(items), embedding.embed_batch_size):
        async with embedding.areporting() as end, aclosing(vectors.acomputed(requests, _lots(batch))) as lots:
            computed = [lot async for lot in lots]
            end(*await asyncio.to_thread(_told, items, computed))
        for lot in computed:
            yield lot


def _batches(number: int, size: int) -> Iterator[range]:
    for start in range(0, number, size):
        yield range(start, min(start + size, number))


def _lots(batch: range) -> Iterator[range]:
    for start in range(batch.start, batch.stop, LOT):
        yield range(start, min(start + LOT, batch.stop))


def _told(items: Sequence[Item | InputError], computed: Sequence[Computed]) -> tuple[list[str], list[list[float]]]:
    """Return what good nodes are called, and their vectors."""
    good = [items[position] for positions, _ in computed for position in positions]
    labels = [label(item) for item in good if not isinstance(item, InputError)]
    return labels, [vector for _, dense in computed for vector in python_floats(dense)]
