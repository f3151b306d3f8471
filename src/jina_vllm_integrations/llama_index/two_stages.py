"""An index of LlamaIndex's finds, late interaction ranks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from llama_index.core.indices import VectorStoreIndex
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from jina_vllm_integrations.adapters.document_vectors import DocumentVectors
from jina_vllm_integrations.adapters.fewer import fewer
from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.adapters.portions import aportions, portions
from jina_vllm_integrations.adapters.query_vectors import QueryVectors
from jina_vllm_integrations.errors import OptionError, naming
from jina_vllm_integrations.llama_index.deleting import adelete_nodes, delete_nodes
from jina_vllm_integrations.llama_index.filtering import check_reads_filters
from jina_vllm_integrations.llama_index.queries import query_item
from jina_vllm_integrations.llama_index.rankables import (
    coming_items,
    found_items,
    names_of,
    noting_ids,
    with_note,
    with_score,
    without_note,
)
from jina_vllm_integrations.llama_index.reported_documents import areported, reported
from jina_vllm_integrations.llama_index.rerank_events import reranking
from jina_vllm_integrations.llama_index.simple_store import searched_in_thread
from jina_vllm_integrations.llama_index.writing import NodeWrites

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import BaseNode

    from jina_vllm_integrations.adapters.found import FoundErrors, Placed
    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.foundation.skipping import OnError, Skipped
    from jina_vllm_integrations.llama_index.embedding import JinaVLLMEmbedding
    from jina_vllm_integrations.llama_index.rerank_events import Reranking
    from jina_vllm_integrations.llama_index.searches import Search
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.token_store.keys import Known
    from jina_vllm_integrations.types import FloatArray, Item


class TwoStages:
    """Nodes in any index of LlamaIndex's, and their token vectors in a `TokenStore`.

    A node's dense and token vectors come from one forward pass, and so do a query's: the first stage is given the
    query's vector.

    Args:
        first: Finds by dense vectors.
        embedding: Whose vectors the first stage has.
        token_store: Keeps token vectors; without one, those of what was found are computed for each query.
        images: Which images of nodes may be read.
        errors: What is done about bad nodes that the first stage finds.
    """

    def __init__(
        self,
        first: VectorStoreIndex | BaseRetriever,
        embedding: JinaVLLMEmbedding,
        token_store: TokenStore | None,
        images: PageImages,
        errors: FoundErrors,
    ) -> None:
        self._first = first
        self._embedding = embedding
        self._token_store = token_store
        self._images = images
        self._errors = errors

    def search(self, search: Search) -> list[NodeWithScore]:
        """Return the best first."""
        first = self._retriever(search)
        query = query_item(search.query)
        with self._embedding.reporting() as end:
            cache = self._embedding.dense_cache()
            vectors = QueryVectors.of(query, self._embedding.encoder(), self._token_store, cache)
            end([label(query)], [vectors.dense.tolist()])
        found = self._few(self._found(first, _with_vector(search.query, vectors.dense)), search)
        with self._told(found, search, vectors) as call, naming(None), noting_ids(found):
            candidates = self._items(found)
            ranked = vectors.ranked(candidates, search.k, names=names_of(found), errors=self._errors)
            call.nodes = _ranked(found, ranked)
        return call.nodes

    async def asearch(self, search: Search) -> list[NodeWithScore]:
        """Do as `search`, without blocking the event loop."""
        first = self._retriever(search)
        query = query_item(search.query)
        async with self._embedding.areporting() as end:
            cache = self._embedding.dense_cache()
            encoder = await asyncio.to_thread(self._embedding.encoder)
            vectors = await QueryVectors.aof(query, encoder, self._token_store, cache)
            end([label(query)], [vectors.dense.tolist()])
        found = self._few(await self._afound(first, _with_vector(search.query, vectors.dense)), search)
        with self._told(found, search, vectors) as call, naming(None), noting_ids(found):
            candidates = await asyncio.to_thread(self._items, found)
            ranked = await vectors.aranked(candidates, search.k, names=names_of(found), errors=self._errors)
            call.nodes = _ranked(found, ranked)
        return call.nodes

    def insert(self, nodes: Sequence[BaseNode], on_error: OnError) -> list[Skipped]:
        """Compute and keep nodes, by one call of the store's where all fits, and return those that were skipped."""
        writes = NodeWrites(self._index())
        given = coming_items(nodes, self._images, MetadataMode.EMBED, on_error)
        vectors = self._vectors(self._embedding.encoder(), nodes, on_error)
        for positions, dense in portions(reported(vectors, self._embedding, given)):
            writes.write(_embedded(self._noted(nodes, positions, vectors), dense))
        return vectors.skipped

    async def ainsert(self, nodes: Sequence[BaseNode], on_error: OnError) -> list[Skipped]:
        """Do as `insert`, without blocking the event loop."""
        writes = NodeWrites(self._index())
        given = await asyncio.to_thread(coming_items, nodes, self._images, MetadataMode.EMBED, on_error)
        vectors = self._vectors(await asyncio.to_thread(self._embedding.encoder), nodes, on_error)
        async with aclosing(aportions(areported(vectors, self._embedding, given))) as computed:
            async for positions, dense in computed:
                await writes.awrite(_embedded(self._noted(nodes, positions, vectors), dense))
        return vectors.skipped

    def delete(self, node_ids: Sequence[str]) -> None:
        """Delete nodes. Token vectors stay: other nodes may have the same content."""
        delete_nodes(self._index(), node_ids, from_docstore=True)

    async def adelete(self, node_ids: Sequence[str]) -> None:
        """Do as `delete`, without blocking the event loop."""
        await adelete_nodes(self._index(), node_ids, from_docstore=True)

    def _vectors(self, encoder: JinaEncoder, nodes: Sequence[BaseNode], on_error: OnError) -> DocumentVectors:
        return DocumentVectors(
            encoder,
            self._token_store,
            on_error=on_error,
            names=[node.node_id for node in nodes],
            cache=self._embedding.dense_cache(),
        )

    def _told(
        self, found: list[NodeWithScore], search: Search, vectors: QueryVectors
    ) -> AbstractContextManager[Reranking]:
        return reranking(
            found,
            search.query,
            top_n=search.k,
            model_name=vectors.reranker.encoder.engine.checkpoint.model,
            callback_manager=search.callback_manager,
        )

    def _index(self) -> VectorStoreIndex:
        if isinstance(self._first, VectorStoreIndex):
            return self._first
        raise OptionError(
            f"nodes are put into an index, and the first stage is a {type(self._first).__name__}. Pass index=, or put "
            "them where that retriever finds them."
        )

    def _retriever(self, search: Search) -> BaseRetriever:
        if isinstance(self._first, VectorStoreIndex):
            if search.filters is not None:
                check_reads_filters(self._first.vector_store)
            assert search.fetch_k is not None  # checked when the retriever was made
            # Not by `as_retriever`: of a store that keeps texts it would search only the image nodes, which are all
            # that the index itself has a list of.
            return _First(
                self._first,
                similarity_top_k=search.fetch_k,
                filters=search.filters,
                object_map=self._first._object_map,  # noqa: SLF001 - what its nodes stand for, as `as_retriever` has it
            )
        if search.filters is not None:
            raise OptionError(
                f"filters go with index=, the first stage is a {type(self._first).__name__}. Give them to that one."
            )
        return self._first

    def _found(self, first: BaseRetriever, query: QueryBundle) -> list[NodeWithScore]:
        try:
            return first.retrieve(query)
        except Exception as refusal:
            for again in _asking_for_fewer(first, refusal):
                with suppress(type(refusal)):
                    return again.retrieve(query)
            raise

    async def _afound(self, first: BaseRetriever, query: QueryBundle) -> list[NodeWithScore]:
        try:
            return await first.aretrieve(query)
        except Exception as refusal:
            for again in _asking_for_fewer(first, refusal):
                with suppress(type(refusal)):
                    return await again.aretrieve(query)
            raise

    def _few(self, found: list[NodeWithScore], search: Search) -> list[NodeWithScore]:
        """Return what is ranked: an index was asked for a number, and its nodes may stand for several others."""
        return found if isinstance(self._first, VectorStoreIndex) else found[: search.fetch_k]

    def _noted(self, nodes: Sequence[BaseNode], positions: Sequence[int], vectors: DocumentVectors) -> list[BaseNode]:
        return [with_note(nodes[at], vectors.contents.get(at), self._images) for at in positions]

    def _items(self, nodes: Sequence[NodeWithScore]) -> list[Item | Known | InputError]:
        """Return what nodes are ranked by, or why there is nothing. Looks at the file system."""
        return found_items(nodes, self._images, MetadataMode.EMBED)


def _asking_for_fewer(first: BaseRetriever, refusal: Exception) -> Iterator[BaseRetriever]:
    """Yield a retriever of ours anew for each number that its store may have; another's is its owner's to set."""
    if type(first) is _First:
        for number in fewer(refusal, first.similarity_top_k):
            first.similarity_top_k = number
            yield first


class _First(VectorIndexRetriever):
    """The first stage over an index, made for one search."""

    async def _aget_nodes_with_embeddings(self, query_bundle_with_embeddings: QueryBundle) -> list[NodeWithScore]:
        self._vector_store = searched_in_thread(self._vector_store)
        return await super()._aget_nodes_with_embeddings(query_bundle_with_embeddings)


def _with_vector(query: QueryBundle, dense: FloatArray) -> QueryBundle:
    """Return a query of its own for the first stage, which need not embed it again.

    Unless somebody has said by which vector or other texts to find, as LlamaIndex's HyDE does.
    """
    if query.embedding is not None or query.custom_embedding_strs is not None:
        return replace(query)
    return QueryBundle(query.query_str, image_path=query.image_path, embedding=dense.tolist())


def _embedded(nodes: Sequence[BaseNode], dense: FloatArray) -> list[BaseNode]:
    """Return copies of nodes with their vectors."""
    return [node.model_copy(update={"embedding": vector}) for node, vector in zip(nodes, dense.tolist(), strict=True)]


def _ranked(found: Sequence[NodeWithScore], ranked: Sequence[Placed]) -> list[NodeWithScore]:
    scored = [with_score(found[each.index], each.score, keep_retrieval_score=False) for each in ranked]
    return [NodeWithScore(node=without_note(each.node), score=each.score) for each in scored]
