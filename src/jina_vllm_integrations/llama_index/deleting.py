"""Nodes deleted from an index of LlamaIndex's, by their ids."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.indices import VectorStoreIndex


def delete_nodes(index: VectorStoreIndex, ids: Sequence[str], *, from_docstore: bool) -> None:
    """Delete nodes.

    Args:
        index: Where they are.
        ids: Theirs.
        from_docstore: Also from the index's document store, if its vector store keeps no texts.

    Raises:
        NotImplementedError: The vector store cannot.
        Exception: The vector store's own; some raise it where they have no table or collection yet.
    """
    if _is_lancedb(index.vector_store):
        _delete_rows(index.vector_store, ids)
    else:
        index.delete_nodes(list(ids), delete_from_docstore=from_docstore)


async def adelete_nodes(index: VectorStoreIndex, ids: Sequence[str], *, from_docstore: bool) -> None:
    """Do as `delete_nodes`, by the store's asynchronous method."""
    if _is_lancedb(index.vector_store):
        await asyncio.to_thread(_delete_rows, index.vector_store, ids)
    else:
        await index.adelete_nodes(list(ids), delete_from_docstore=from_docstore)


def _is_lancedb(store: object) -> bool:
    # Its own delete_nodes writes ids as SQL writes the names of columns, and always raises.
    return any(kind.__name__ == "LanceDBVectorStore" for kind in type(store).__mro__)


def _delete_rows(store: Any, ids: Sequence[str]) -> None:
    quoted = ["'" + name.replace("'", "''") + "'" for name in ids]
    if quoted:
        store.table.delete(f"id IN ({', '.join(quoted)})")
