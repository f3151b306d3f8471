"""Pages and texts, found in two stages, as LlamaIndex's `BaseRetriever`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import BaseNode

from jina_vllm_integrations.adapters.found import FoundErrors
from jina_vllm_integrations.adapters.page_images import IMAGE_KEYS, PageImages
from jina_vllm_integrations.adapters.relevance import relevant
from jina_vllm_integrations.errors import ItemTypeError, OptionError
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.llama_index.embedding import JinaVLLMEmbedding
from jina_vllm_integrations.llama_index.node_images import as_image_node
from jina_vllm_integrations.llama_index.qdrant_nodes import QdrantNodes
from jina_vllm_integrations.llama_index.queries import TakesMessages
from jina_vllm_integrations.llama_index.searches import Search
from jina_vllm_integrations.llama_index.sources import with_source
from jina_vllm_integrations.llama_index.two_stages import TwoStages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.indices import VectorStoreIndex
    from llama_index.core.schema import NodeWithScore, QueryBundle

    from jina_vllm_integrations.foundation.skipping import OnError, OnFoundError, Skipped
    from jina_vllm_integrations.llama_index.searches import NodeIndex
    from jina_vllm_integrations.qdrant import QdrantIndex
    from jina_vllm_integrations.token_store import TokenStore


class JinaVLLMMultiVectorRetriever(TakesMessages, BaseRetriever):
    """Finds texts and page images by dense vectors, and ranks what it found by late interaction.

    The first stage is an index of LlamaIndex's over any vector store, or any retriever; the token vectors of the second
    are kept in a `TokenStore`. Or both stages are in Qdrant, which needs no image to rank. Texts and images share one
    space, and so one index: a `VectorStoreIndex`, not LlamaIndex's multimodal one.

    A query is a text, or an image as ``QueryBundle(query_str="", image_path=...)``, which is the caller's own; with a
    ``query_str`` beside its image it is both, as a `TextImageQuery`. `retrieve` takes whatever `query_bundle` does,
    such as a ``ChatMessage``. Results are copies of nodes with MaxSim over the number of the query's tokens, at most 1
    and comparable across queries.

    Making one starts nothing. May be used by many threads and coroutines at once, whose queries share the engine's
    batches. What it is given stays the caller's to close, and copies share it.

    Args:
        index: The first stage, over any vector store: ``VectorStoreIndex.from_vector_store(store, embed_model=...)``.
        retriever: The first stage, where there is no such index, or one that searches it otherwise, such as
            ``VectorIndexRetriever(index, similarity_top_k=50, vector_store_query_mode="mmr")``. How many it finds is
            its own choice; the first ``fetch_k`` are ranked.
        qdrant: Both stages. One of these three.
        embedding: Whose vectors the first stage has. Its checkpoint needs a multi-vector head.
        token_store: Keeps token vectors. Without one they are computed again for each query.
        similarity_top_k: How many nodes to return at most.
        fetch_k: How many to find in the first stage, and rank; at least ``similarity_top_k``. An index whose store has
            fewer, and refuses, is asked for those. ``None`` for all that a ``retriever`` finds.
        filters: Which nodes may be found: ``MetadataFilters``; for Qdrant a `qdrant_client.models.Filter`. A
            ``retriever`` has its own. A vector store that does not read them is not searched.
        score_threshold: The least score to return.
        on_found_error: What to do about a node that was found and cannot be ranked: its image's file is missing or must
            not be read, or its text is empty or too long. ``"skip"`` logs it once, by its id, and leaves it out;
            ``"last"`` puts it behind those that were ranked, with the score ``None``, where ``similarity_top_k`` leaves
            room and there is no ``score_threshold``; or ``"raise"``. An engine's errors always raise. Qdrant needs no
            file.
        image_keys: Where metadata may name an image, as for `JinaVLLMRerank`, like the following two.
        allowed_image_roots: The folders whose files nodes may name.
        allow_image_urls: Fetch http and https URLs that nodes name, from public addresses only.
        callback_manager: LlamaIndex's. It is told of the search and its second stage; the ``embedding``'s own of what
            is embedded, by its batches, with its rate limiter asked and its cache read and filled.

    Raises:
        OptionError: Not one of ``index``, ``retriever`` and ``qdrant``; no ``embedding`` with the first two, or
            another one than the index has; or a value that does not fit.

    Example:
        >>> index = VectorStoreIndex([], embed_model=embedding)
        >>> retriever = JinaVLLMMultiVectorRetriever(
        ...     index=index, embedding=embedding, token_store=token_store, allowed_image_roots=(Path("scans"),)
        ... )
        >>> retriever.insert_nodes(PageImageReader().load_data("scans/report.pdf"))
        >>> pictures = PageImagePostprocessor(allowed_image_roots=(Path("scans"),))
        >>> engine = RetrieverQueryEngine.from_args(
        ...     retriever, llm=llm, node_postprocessors=[pictures], multimodal=True
        ... )
    """

    def __init__(
        self,
        *,
        index: VectorStoreIndex | None = None,
        retriever: BaseRetriever | None = None,
        qdrant: QdrantIndex | None = None,
        embedding: JinaVLLMEmbedding | None = None,
        token_store: TokenStore | None = None,
        similarity_top_k: int = 4,
        fetch_k: int | None = 50,
        filters: Any = None,
        score_threshold: float | None = None,
        on_found_error: OnFoundError = "skip",
        image_keys: Iterable[str] = IMAGE_KEYS,
        allowed_image_roots: Iterable[str | Path] = (),
        allow_image_urls: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        check_count("similarity_top_k", similarity_top_k)
        if fetch_k is not None:
            check_count("fetch_k", fetch_k)
        elif retriever is None:
            raise OptionError(
                "fetch_k must be a whole number with index= or qdrant=, got None: a store is asked for a number. None "
                "goes with retriever=."
            )
        self.similarity_top_k = similarity_top_k
        self.fetch_k = fetch_k
        self.filters = filters
        self.score_threshold = score_threshold
        images = PageImages.of(keys=image_keys, roots=allowed_image_roots, urls=allow_image_urls)
        # Where a tool that shows what is found looks for them.
        self.image_keys, self.allowed_image_roots, self.allow_image_urls = images.keys, images.roots, images.urls
        self._nodes = _node_index(
            index=index,
            retriever=retriever,
            qdrant=qdrant,
            embedding=embedding,
            token_store=token_store,
            images=images,
            errors=FoundErrors(on_found_error),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return one with settings of its own, which shares what it was given."""
        copied = copy.copy(self)
        copied.filters = copy.deepcopy(self.filters, memo)
        return copied

    def insert_nodes(self, nodes: Iterable[BaseNode], *, on_error: OnError = "raise") -> list[Skipped]:
        """Compute and keep nodes: by the image that a node holds or its metadata names, or else by the text.

        All are checked before the first is computed. What was kept before another error stays. A node takes the place
        of one with its id. One that came from no document is its own source, so that an index's ``delete_ref_doc``
        finds it.

        Args:
            nodes: Texts and page images. They stay as they are.
            on_error: A bad node raises; or ``"skip"`` to log it by its id as a warning, and return it.

        Returns:
            The nodes that were skipped, if that was chosen.

        Raises:
            InputError: A node cannot be embedded, or its image must not be read; ``index`` is its position.
            OptionError: The first stage is a retriever.
            CheckpointError: The model cannot be served, or has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The token store or Qdrant's collection cannot be written; or the index's vector store cannot
                replace a node that is there, or each call of its overwrites what is there and these need several.
        """
        return self._nodes.insert(_nodes(nodes), on_error)

    async def ainsert_nodes(self, nodes: Iterable[BaseNode], *, on_error: OnError = "raise") -> list[Skipped]:
        """Do as `insert_nodes`, without blocking the event loop. Cancelling stops the work."""
        return await self._nodes.ainsert(_nodes(nodes), on_error)

    def delete_nodes(self, node_ids: Sequence[str]) -> None:
        """Delete nodes by their ids."""
        self._nodes.delete(node_ids)

    async def adelete_nodes(self, node_ids: Sequence[str]) -> None:
        """Do as `delete_nodes`, without blocking the event loop."""
        await self._nodes.adelete(node_ids)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return relevant(self._nodes.search(self._search(query_bundle)), self.score_threshold)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return relevant(await self._nodes.asearch(self._search(query_bundle)), self.score_threshold)

    def _search(self, query: QueryBundle) -> Search:
        k = self.similarity_top_k
        return Search(
            query=query,
            k=k,
            fetch_k=None if self.fetch_k is None else max(k, self.fetch_k),
            filters=self.filters,
            callback_manager=self.callback_manager,
        )


def _node_index(
    *,
    index: VectorStoreIndex | None,
    retriever: BaseRetriever | None,
    qdrant: QdrantIndex | None,
    embedding: JinaVLLMEmbedding | None,
    token_store: TokenStore | None,
    images: PageImages,
    errors: FoundErrors,
) -> NodeIndex:
    given = [each for each in (index, retriever, qdrant) if each is not None]
    if len(given) != 1:
        raise OptionError(f"one of index, retriever and qdrant must be given, got {len(given)}. Pass one of them.")
    if qdrant is not None:
        if embedding is not None or token_store is not None:
            raise OptionError(
                "embedding and token_store go with index= or retriever=, qdrant= has its own. Leave both out."
            )
        return QdrantNodes(qdrant, images)
    first = index if index is not None else retriever
    assert first is not None
    if embedding is None:
        raise OptionError("embedding must be given with index= or retriever=: the JinaVLLMEmbedding of its vectors.")
    if index is not None:
        _check_embeds_alike(index, embedding)
    return TwoStages(first, embedding, token_store, images, errors)


def _check_embeds_alike(index: VectorStoreIndex, embedding: JinaVLLMEmbedding) -> None:
    own = index._embed_model  # noqa: SLF001 - there is no other way to see a wrong one before it finds wrong nodes
    if not isinstance(own, JinaVLLMEmbedding) or (own.task, own.dimensions) != (embedding.task, embedding.dimensions):
        raise OptionError(
            f"the index must embed as embedding= does, by a JinaVLLMEmbedding of the same task and dimensions; it has "
            f"{type(own).__name__}. Make it with embed_model=embedding. To rank what another model finds, use "
            "JinaVLLMRerank."
        )


def _nodes(nodes: Iterable[BaseNode]) -> list[BaseNode]:
    if isinstance(nodes, BaseNode):
        raise ItemTypeError("nodes must be several, got one. Write [node].")
    return [with_source(as_image_node(_node(node, index))) for index, node in enumerate(nodes)]


def _node(node: object, index: int) -> BaseNode:
    if not isinstance(node, BaseNode):
        raise ItemTypeError(
            f"what is inserted is a node, got {type(node).__name__} {node!r:.60}. Make it a TextNode.", index=index
        )
    return node
