"""Both stages in Qdrant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from jina_vllm_integrations.errors import StoreFormatError
from jina_vllm_integrations.llama_index.queries import query_item
from jina_vllm_integrations.llama_index.rankables import coming_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import BaseNode

    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.foundation.skipping import OnError, Skipped
    from jina_vllm_integrations.llama_index.searches import Search
    from jina_vllm_integrations.qdrant import QdrantIndex
    from jina_vllm_integrations.qdrant.collections import QdrantHit


_NODE = "_node_content"  # where `node_to_metadata_dict` has it


class QdrantNodes:
    """Nodes in a `QdrantIndex`: one request finds them by dense vectors and ranks them by late interaction.

    A payload is what LlamaIndex's own stores write: the metadata, for filters, and the node.

    Args:
        index: Keeps dense and token vectors.
        images: Which images of nodes may be read, to insert them.
    """

    def __init__(self, index: QdrantIndex, images: PageImages) -> None:
        self._index = index
        self._images = images

    def search(self, search: Search) -> list[NodeWithScore]:
        """Return the best first."""
        return [_scored(hit) for hit in self._index.search(query_item(search.query), **_options(search))]

    async def asearch(self, search: Search) -> list[NodeWithScore]:
        """Do as `search`, without blocking the event loop."""
        return [_scored(hit) for hit in await self._index.asearch(query_item(search.query), **_options(search))]

    def insert(self, nodes: Sequence[BaseNode], on_error: OnError) -> list[Skipped]:
        """Compute and keep nodes, and return those that were skipped."""
        given = coming_items(nodes, self._images, MetadataMode.EMBED, on_error)
        return self._index.upsert(given, **_beside(nodes, on_error)).skipped

    async def ainsert(self, nodes: Sequence[BaseNode], on_error: OnError) -> list[Skipped]:
        """Do as `insert`, without blocking the event loop."""
        given = await asyncio.to_thread(coming_items, nodes, self._images, MetadataMode.EMBED, on_error)
        return (await self._index.aupsert(given, **_beside(nodes, on_error))).skipped

    def delete(self, node_ids: Sequence[str]) -> None:
        """Delete nodes."""
        self._index.delete(node_ids)

    async def adelete(self, node_ids: Sequence[str]) -> None:
        """Do as `delete`, without blocking the event loop."""
        await asyncio.to_thread(self.delete, node_ids)


def _beside(nodes: Sequence[BaseNode], on_error: OnError) -> dict[str, Any]:
    return {"payloads": map(node_to_metadata_dict, nodes), "ids": _ids(nodes), "on_error": on_error}


def _options(search: Search) -> dict[str, Any]:
    return {"limit": search.k, "prefetch": search.fetch_k, "query_filter": search.filters, "normalize": "mean"}


def _ids(nodes: Sequence[BaseNode]) -> list[str]:
    return [node.node_id for node in nodes]


def _scored(hit: QdrantHit) -> NodeWithScore:
    if _NODE not in hit.payload:
        raise StoreFormatError(
            f"a point that LlamaIndex finds must have a node under {_NODE!r} in its payload, {hit.id} has none. Insert "
            "it through the retriever, or filter such points out."
        )
    return NodeWithScore(node=metadata_dict_to_node(hit.payload), score=hit.score)
