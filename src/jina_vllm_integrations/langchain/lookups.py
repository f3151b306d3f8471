"""Documents of a vector store of LangChain's, looked up by their ids."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from jina_vllm_integrations.langchain.store_options import has_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.vectorstores import VectorStore


def gets_by_ids(store: VectorStore) -> bool:
    """Say whether a store looks documents up."""
    return has_own(store, "get_by_ids") or has_own(store, "aget_by_ids")


def get_by_ids(store: VectorStore, ids: Sequence[str]) -> list[Document]:
    """Return the documents that are there, in any order.

    Args:
        store: One that `gets_by_ids`.
        ids: Some, each once.

    Raises:
        Exception: The store's own.
    """
    return _of_chroma(store, ids) if _is_chromas(store) else store.get_by_ids(list(ids))


async def aget_by_ids(store: VectorStore, ids: Sequence[str]) -> list[Document]:
    """Do as `get_by_ids`, by the store's asynchronous method."""
    if _is_chromas(store) and not has_own(store, "aget_by_ids"):
        return await asyncio.to_thread(_of_chroma, store, ids)
    return await store.aget_by_ids(list(ids))


def _is_chromas(store: VectorStore) -> bool:
    # Where Chroma has no metadata, its own get_by_ids makes a document of None, which always raises.
    return type(store).get_by_ids.__qualname__ == "Chroma.get_by_ids"


def _of_chroma(store: Any, ids: Sequence[str]) -> list[Document]:
    found = store.get(ids=list(ids))
    return [
        Document(text, metadata=metadata or {}, id=name)
        for text, metadata, name in zip(found["documents"], found["metadatas"], found["ids"], strict=True)
        if text is not None
    ]
