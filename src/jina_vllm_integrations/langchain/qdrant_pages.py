"""Both stages in Qdrant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.errors import OptionError, StoreFormatError
from jina_vllm_integrations.langchain.incoming import ids_of, kept_ids
from jina_vllm_integrations.langchain.rankables import coming_items
from jina_vllm_integrations.langchain.searches import Scored
from jina_vllm_integrations.langchain.stage_runs import astage, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.callbacks import AsyncCallbackManager, CallbackManager

    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.foundation.skipping import KeptIds, OnError
    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.qdrant import QdrantIndex
    from jina_vllm_integrations.qdrant.collections import QdrantHit
    from jina_vllm_integrations.types import Query

# Where langchain-qdrant has them, whose stores can read such a collection.
_CONTENT, _METADATA = "page_content", "metadata"
# Qdrant's own ids are UUIDs.
_ID = "document_id"

_STAGE = "find and rank"


class QdrantPages:
    """Documents in a `QdrantIndex`: one request finds them by dense vectors and ranks them by late interaction.

    Args:
        index: Keeps dense and token vectors.
        images: Which images of documents may be read, to add them.
    """

    def __init__(self, index: QdrantIndex, images: PageImages) -> None:
        self._index = index
        self._images = images

    def check(self, search: Search) -> None:
        """Check that a `QdrantIndex` takes what is chosen."""
        if unknown := search.options.keys() - {"exact"}:
            raise OptionError(
                "a search of a QdrantIndex takes k, fetch_k, filter, score_threshold and exact, got "
                f"{', '.join(sorted(unknown))}."
            )
        if search.search_type != "similarity":
            raise OptionError(
                f"a QdrantIndex finds by similarity, got search_type={search.search_type!r}. Leave it out, or pass "
                "vectorstore=QdrantVectorStore(...)."
            )
        if search.fetch_k is None:
            raise OptionError("fetch_k must be a whole number with index=, got None. None goes with retriever=.")

    def search(self, query: Query, search: Search, callbacks: CallbackManager) -> list[Scored]:
        """Return the best first, and tell of the search: one run, as it is one request."""
        with stage(callbacks, _STAGE, lambda: {"query": label(query), "fetch_k": search.fetch_k}) as told:
            hits = self._index.search(query, **_options(search))
            told.outputs = _told(hits)
        return [_scored(hit) for hit in hits]

    async def asearch(self, query: Query, search: Search, callbacks: AsyncCallbackManager) -> list[Scored]:
        """Do as `search`, without blocking the event loop."""
        async with astage(callbacks, _STAGE, lambda: {"query": label(query), "fetch_k": search.fetch_k}) as told:
            hits = await self._index.asearch(query, **_options(search))
            told.outputs = _told(hits)
        return [_scored(hit) for hit in hits]

    def add(self, documents: Sequence[Document], on_error: OnError) -> KeptIds:
        """Compute and keep documents, and return their ids, and those that were skipped."""
        given = coming_items(documents, self._images, on_error)
        return kept_ids(documents, self._index.upsert(given, **_beside(documents, on_error)).skipped)

    async def aadd(self, documents: Sequence[Document], on_error: OnError) -> KeptIds:
        """Do as `add`, without blocking the event loop."""
        given = await asyncio.to_thread(coming_items, documents, self._images, on_error)
        return kept_ids(documents, (await self._index.aupsert(given, **_beside(documents, on_error))).skipped)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents that are there."""
        unique = list(dict.fromkeys(ids))
        payloads = zip(unique, self._index.payloads(unique), strict=True)
        return [_document(payload, name) for name, payload in payloads if payload is not None]

    async def aget(self, ids: Sequence[str]) -> list[Document]:
        """Do as `get`, without blocking the event loop."""
        return await asyncio.to_thread(self.get, ids)

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete documents that are there, and return their ids."""
        there = ids_of(self.get(ids))
        if there:
            self._index.delete(there)
        return there

    async def adelete(self, ids: Sequence[str]) -> list[str]:
        """Do as `delete`, without blocking the event loop."""
        return await asyncio.to_thread(self.delete, ids)


def _options(search: Search) -> dict[str, Any]:
    return {
        **search.options,
        "limit": search.k,
        "prefetch": search.fetch_k,
        "query_filter": search.filter,
        "normalize": "mean",
    }


def _beside(documents: Sequence[Document], on_error: OnError) -> dict[str, Any]:
    return {"payloads": map(_payload, documents), "ids": ids_of(documents), "on_error": on_error}


def _payload(document: Document) -> dict[str, Any]:
    return {_ID: document.id, _CONTENT: document.page_content, _METADATA: document.metadata}


def _document(payload: dict[str, Any], name: str) -> Document:
    if not payload.keys() >= {_ID, _CONTENT, _METADATA}:
        raise StoreFormatError(
            f"a point that LangChain finds must have {_ID}, {_CONTENT} and {_METADATA} in its payload, {name} has "
            f"{', '.join(payload) or 'none'}. Add it through the retriever, or filter such points out."
        )
    return Document(payload[_CONTENT], id=payload[_ID], metadata=payload[_METADATA])


def _told(hits: Sequence[QdrantHit]) -> dict[str, Any]:
    return {"ranked": [{"id": hit.payload.get(_ID), "score": hit.score} for hit in hits]}


def _scored(hit: QdrantHit) -> Scored:
    return Scored(document=_document(hit.payload, hit.id), score=hit.score)
