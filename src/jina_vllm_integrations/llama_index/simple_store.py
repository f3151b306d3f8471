"""LlamaIndex's vector store in memory, searched in a thread: its asynchronous search computes in the event loop."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQueryResult

if TYPE_CHECKING:
    from llama_index.core.vector_stores import VectorStoreQuery
    from llama_index.core.vector_stores.types import BasePydanticVectorStore


def searched_in_thread(store: BasePydanticVectorStore) -> Any:
    """Return a store for one search: LlamaIndex's in memory searched in a thread, any other one as it is."""
    if isinstance(store, SimpleVectorStore) and type(store).aquery is SimpleVectorStore.aquery:
        return _SearchedInThread(store)
    return store


class _SearchedInThread:
    """A store in memory for one search, beside which nodes come and go in the event loop as they did.

    Args:
        store: It is searched as it is when a search begins; what was deleted when it ends is not found.
    """

    is_embedding_query = True

    def __init__(self, store: SimpleVectorStore) -> None:
        self._store = store

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Do as the store's ``query``, without blocking the event loop."""
        found = await asyncio.to_thread(_as_it_is(self._store).query, query, **options)
        ids, similarities = found.ids or [], found.similarities or []
        left = [each for each in zip(ids, similarities, strict=True) if each[0] in self._store.data.embedding_dict]
        return VectorStoreQueryResult(ids=[name for name, _ in left], similarities=[score for _, score in left])


def _as_it_is(store: SimpleVectorStore) -> SimpleVectorStore:
    """Return a copy that shares the vectors, but not the lists of them, which must not grow while they are read."""
    data = replace(
        store.data,
        embedding_dict=dict(store.data.embedding_dict),
        metadata_dict=dict(store.data.metadata_dict),
    )
    return store.model_copy(update={"data": data})
