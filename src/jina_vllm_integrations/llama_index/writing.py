"""Nodes written into an index of LlamaIndex's: known ones are replaced, and none is lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.schema import QueryBundle
from llama_index.core.vector_stores import VectorStoreQuery

from jina_vllm_integrations.adapters.overwriting import Calls, Doubt, Written
from jina_vllm_integrations.errors import StoreError
from jina_vllm_integrations.llama_index.deleting import adelete_nodes, delete_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.indices import VectorStoreIndex
    from llama_index.core.schema import BaseNode, NodeWithScore

logger = logging.getLogger(__name__)


class NodeWrites:
    """The calls by which nodes are written, one portion after the other.

    Of LlamaIndex's vector stores some replace a node with a known id, some keep both, and some the old one. So what is
    about to be written is deleted first, by its ids and nothing else.

    Args:
        index: Where to.
    """

    def __init__(self, index: VectorStoreIndex) -> None:
        self._index = index
        self._store = index.vector_store
        self._name = type(index.vector_store).__name__
        self._calls = Calls(self._name)
        self._told = False

    def write(self, nodes: Sequence[BaseNode]) -> None:
        """Write nodes that have their embeddings; of those with one id the last.

        Raises:
            StoreError: The store cannot replace a node that is there, would lose another one, or overwrites what an
                earlier call wrote.
        """
        nodes = _latest(nodes)
        self._check_numbers(nodes)
        try:
            delete_nodes(self._index, _ids(nodes), from_docstore=False)
        except NotImplementedError:
            self._check_new(nodes)
        except Exception as error:  # noqa: BLE001 - stores have their own, also for a table that is not there yet
            if self._finds(nodes[0]):
                self._tell(error)
        self._index.insert_nodes(nodes)
        if (doubt := self._calls.written(_written(nodes))) is not None:
            doubt.check(_found(self._nearest().retrieve(_like(doubt))))

    async def awrite(self, nodes: Sequence[BaseNode]) -> None:
        """Do as `write`, by the store's asynchronous methods."""
        nodes = _latest(nodes)
        self._check_numbers(nodes)
        try:
            await adelete_nodes(self._index, _ids(nodes), from_docstore=False)
        except NotImplementedError:
            self._check_new(nodes)
        except Exception as error:  # noqa: BLE001
            if await self._afinds(nodes[0]):
                self._tell(error)
        await self._index.ainsert_nodes(nodes)
        if (doubt := self._calls.written(_written(nodes))) is not None:
            doubt.check(_found(await self._nearest().aretrieve(_like(doubt))))

    def _check_new(self, nodes: Sequence[BaseNode]) -> None:
        """Raise an error about a node that is there by a number of the store's own: it would be there twice."""
        numbered = {name for number, name in self._index.index_struct.nodes_dict.items() if number != name}
        if known := numbered.intersection(_ids(nodes)):
            raise StoreError(
                f"a node that is there must be replaced, and {self._name} cannot delete {min(known)!r}. Make the index "
                "anew, or use a store that deletes nodes, such as SimpleVectorStore."
            )

    def _check_numbers(self, nodes: Sequence[BaseNode]) -> None:
        """Raise an error where a new node would get another's number, by which only the new one would be found."""
        if not any(kind.__name__ == "FaissMapVectorStore" for kind in type(self._store).__mro__):
            return
        store: Any = self._store
        ids = set(_ids(nodes))
        stay = {number: name for number, name in store._faiss_id_to_node_id_map.items() if name not in ids}  # noqa: SLF001
        new = range(len(stay), len(stay) + len(nodes))  # it numbers by how many are left
        if lost := [name for number, name in stay.items() if number in new]:
            raise StoreError(
                f"a node that is there must stay, and {self._name} would lose {lost[0]!r}: after others were deleted "
                "or replaced it gives new nodes numbers that are taken. Make the index anew, or use another store, "
                "such as SimpleVectorStore."
            )

    def _finds(self, node: BaseNode) -> bool:
        """Say whether the store can be searched: one that has no table or collection yet has nothing to replace."""
        try:
            self._store.query(_search(node))
        except Exception:  # noqa: BLE001 - whatever it is, writing will tell
            return False
        return True

    async def _afinds(self, node: BaseNode) -> bool:
        try:
            await self._store.aquery(_search(node))
        except Exception:  # noqa: BLE001
            return False
        return True

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "%s did not delete nodes that are about to be written: those that it had may be there twice (%r)",
                self._name,
                error,
            )

    def _nearest(self) -> VectorIndexRetriever:
        return VectorIndexRetriever(self._index, similarity_top_k=1)


def _latest(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    return list({node.node_id: node for node in nodes}.values())


def _ids(nodes: Sequence[BaseNode]) -> list[str]:
    return [node.node_id for node in nodes]


def _written(nodes: Sequence[BaseNode]) -> Written:
    ids = _ids(nodes)
    vectors = np.array([node.get_embedding() for node in nodes], dtype=np.float32)
    return Written(ids=ids, marks=ids, texts=[""] * len(ids), vectors=vectors)


def _found(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [each.node.node_id for each in nodes]


def _search(node: BaseNode) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=node.get_embedding(), similarity_top_k=1)


def _like(doubt: Doubt) -> QueryBundle:
    return QueryBundle(doubt.text, embedding=doubt.vector.tolist())
