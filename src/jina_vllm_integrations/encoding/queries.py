"""What is searched for, as vectors: one item's, or those of a text and an image together."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from jina_vllm_integrations.errors import InputError, naming
from jina_vllm_integrations.types import ImageInput, TextImageQuery, TextInput, TokenVectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_vllm_integrations.types import FloatArray, Item, Query, Role

QueryTokens: TypeAlias = "TokenVectors | FloatArray"
"""What a query is ranked by: an item's token vectors, or the weighted rows of two items."""


class EmbedsBoth(Protocol):
    """Who computes queries, such as a `JinaEncoder`."""

    def embed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Return a dense vector and the token vectors of each item."""

    async def aembed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Do as `embed_both`, without blocking the event loop."""


# In the order of `items_of_query`.
_HALVES = {0: "text", 1: "image"}


def items_of_query(query: Query) -> list[Item]:
    """Return what is computed for a query: itself, or its text and its image."""
    if not isinstance(query, TextImageQuery):
        return [query]
    image = query.image if isinstance(query.image, ImageInput) else ImageInput(query.image)
    return [TextInput(query.text), image]


def embed_query(encoder: EmbedsBoth, query: Query) -> tuple[FloatArray, QueryTokens]:
    """Return what a query is found and ranked by, from one call of the engine.

    Returns:
        The dense vector, L2-normalised, *shape* ``(dimensions,)``, float32; and what `tokens_of_query` returns.

    Raises:
        InputError: The query cannot be embedded, ``index`` is ``None``; the message says which half of two.
        CheckpointError: The checkpoint has no multi-vector head.
        EngineError: The engine did not start, was closed or died.
    """
    with naming(None), naming_half(query):
        dense, tokens = encoder.embed_both(items_of_query(query), role="query")
    return _dense_of_query(dense), tokens_of_query(tokens)


async def aembed_query(encoder: EmbedsBoth, query: Query) -> tuple[FloatArray, QueryTokens]:
    """Do as `embed_query`, without blocking the event loop. Cancelling stops the work."""
    with naming(None), naming_half(query):
        dense, tokens = await encoder.aembed_both(items_of_query(query), role="query")
    return _dense_of_query(dense), tokens_of_query(tokens)


def tokens_of_query(items: Sequence[TokenVectors]) -> QueryTokens:
    """Return what a query of these items is ranked by.

    Args:
        items: The token vectors of each, as an engine returns them.

    Returns:
        Those of a single item as they are. Of several, all rows, each multiplied so that the MaxSim of each item
        counts as much as another's, whatever its number of tokens, and the mean over all rows is the mean of the
        items' means. *Shape:* ``(n_tokens, dim)``, float32.
    """
    if len(items) == 1:
        return items[0]
    n_tokens = sum(len(item.vectors) for item in items)
    weights = [np.float32(n_tokens / len(items) / len(item.vectors)) for item in items]
    rows: FloatArray = np.concatenate([item.vectors * weight for item, weight in zip(items, weights, strict=True)])
    return rows


@contextmanager
def naming_half(query: object) -> Iterator[None]:
    """Let an error about one of the items of a query say which half of it that is. Its ``index`` stays."""
    try:
        yield
    except InputError as error:
        if isinstance(query, TextImageQuery) and error.index in _HALVES:
            error.args = (f"the query's {_HALVES[error.index]}: {error.args[0]}",)
        raise


def _dense_of_query(items: FloatArray) -> FloatArray:
    """Return the direction of the sum. *Shape:* ``(n_items, dimensions)`` to ``(dimensions,)``."""
    if len(items) == 1:
        only: FloatArray = items[0]
        return only
    total = items.sum(axis=0)
    direction: FloatArray = total / np.linalg.norm(total)
    return direction
