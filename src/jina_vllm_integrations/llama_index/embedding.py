"""jina-embeddings-v4 as LlamaIndex's `MultiModalEmbedding`."""

# Pydantic reads the annotations of this module, so they are not postponed.
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.base.embeddings.base import Embedding, mean_agg
from llama_index.core.schema import BaseNode
from llama_index_instrumentation import get_dispatcher

from jina_vllm_integrations.adapters.page_texts import PAGE_TEXTS
from jina_vllm_integrations.llama_index.batches import IMAGES, QUERIES, TEXTS, node_kind
from jina_vllm_integrations.llama_index.embedding_calls import EmbeddingCalls
from jina_vllm_integrations.llama_index.images import LlamaIndexImage
from jina_vllm_integrations.llama_index.sources import with_source

_dispatcher = get_dispatcher(__name__)

_BY_CALL = (
    "Call index.insert_nodes(embedding(documents)), from_documents(documents, transformations=[embedding]), or "
    "insert_nodes of JinaVLLMMultiVectorRetriever."
)


class JinaVLLMEmbedding(EmbeddingCalls):
    """Texts and images for any index of LlamaIndex's, in one space.

    An index asks for the vectors of texts: ``VectorStoreIndex.from_documents(PageImageReader(...).load_data(...))``
    embeds the pages' texts, not their images. ``index.insert_nodes(embedding(pages))`` embeds the images, and so does
    ``from_documents`` with ``transformations=[embedding]``.

    Texts and queries get prompts of their own. Vectors are lists of Python floats, of unit length. Making one starts
    nothing; the first text or image does. May be used by many threads and event loops at once, whose requests share
    the engine's batches; asynchronous calls hold no thread while they wait. What is equal in a batch is computed once.

    As a transformation it embeds the image of a node that has one (`ImageNode`, `ImageDocument`,
    ``Node(image_resource=...)``), and the text of any other, and sets each node's ``embedding``. An index embeds what
    has none itself: `VectorStoreIndex` would embed the file name of an image, and drops a node whose text and metadata
    are empty. So for images make it the last transformation, ``IngestionPipeline(transformations=[...,
    embedding], vector_store=store)`` and ``VectorStoreIndex.from_vector_store``, or
    ``index.insert_nodes(embedding(nodes))``. Paths in nodes are read and URLs fetched, within ``image_limits``.

    Give it an ``embeddings_cache``, and each text and image is computed once, by this and all later runs. Roles are
    apart in it, and so are models with all their weights and options, tasks and dimensions; an image is its pixels.
    Vectors come from it in float16, scaled to unit length again. It replaces the cache of an `IngestionPipeline`, which
    knows nodes by their text alone and answers for one picture with another's node.

    Some settings do not change; ``model_copy(update=...)`` makes another one, checked anew. Copies, deep ones too,
    share an engine that was given and make their own otherwise (of equal settings, engines share one vLLM). Pickled it
    travels without its engine, callbacks and rate limiter, and not at all with an engine that was given, or with a
    cache. In a worker process, such as ``IngestionPipeline.run(num_workers=2)`` starts, what was unpickled raises
    `EngineStartError` instead of starting a second vLLM.

    Args:
        engine: The caller's, who closes it. Not in the representation, nor serialised.
        model: Whose engine to make where none was given: a directory or a hub id. Also ``model_name``, which reports
            the model in any case: of a given engine when it was first used.
        task: ``"retrieval"``, ``"text-matching"`` or ``"code"``.
        dimensions: Matryoshka size, one of the checkpoint's; ``None`` for the full size.
        embed_batch_size: How many items are read and checked at once, 1 to 2048. LlamaIndex's 10 would starve vLLM,
            which has up to 256 in work and as many waiting; a few times that keeps it busy between two batches.
        num_workers: How many batches of one asynchronous call are under way at once; 2 by default.
        truncate: Cut texts that are longer than the engine takes, instead of raising. Logged once.
        image_limits: What an image may cost.
        empty_text: A text without content raises; or ``"prompt"`` to embed its prompt alone, as the model's own code
            does, for stores and splitters that give one. A retriever's ``insert_nodes`` refuses it all the same.
        engine_options: Those of `InProcessEngine`, vLLM's among them, for an engine of its own. They may hold a token
            of the hub: serialised are digests of those that change vectors.
        embeddings_cache: Any key-value store of LlamaIndex's. The caller's.
        ingestion_cache: Whether the cache of an `IngestionPipeline` may answer for this one. Only for nodes whose text
            tells them apart, so never for images.
        callback_manager: LlamaIndex's.
        rate_limiter: LlamaIndex's, asked once a batch.

    Raises:
        ValidationError: Pydantic's, a ``ValueError``: an option or value that does not exist, neither or both of
            ``engine`` and ``model``, or ``engine_options`` with an engine.

    Example:
        >>> with JinaVLLMEmbedding(model="jinaai/jina-embeddings-v4-vllm-retrieval") as embedding:
        ...     index = VectorStoreIndex([], embed_model=embedding)
        ...     index.insert_nodes(embedding(PageImageReader().load_data("scans")))
        ...     (page,) = index.as_retriever(similarity_top_k=1).retrieve("When does the train leave?")
    """

    def get_query_embedding(self, query: str) -> Embedding:
        """Embed a text that is searched for. Errors are those of `get_text_embedding_batch`, without an ``index``.

        Returns:
            *Shape:* ``(dimensions,)``, Python floats, L2-normalised.
        """
        return self._reported(QUERIES.one(query))[0]

    async def aget_query_embedding(self, query: str) -> Embedding:
        """Do as `get_query_embedding`, without blocking the event loop. Cancelling stops the work."""
        return (await self._areported(QUERIES.one(query)))[0]

    @_dispatcher.span
    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """Embed queries together and aggregate their vectors, by their mean unless another function is given.

        Returns:
            *Shape:* ``(dimensions,)``, Python floats; a mean of several is shorter than 1.
        """
        return (agg_fn or mean_agg)(self._batched(QUERIES, queries, show_progress=False))

    @_dispatcher.span
    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """Do as `get_agg_embedding_from_queries`, without blocking the event loop. Cancelling stops the work."""
        return (agg_fn or mean_agg)(await self._abatched(QUERIES, queries, show_progress=False))

    def get_text_embedding(self, text: str) -> Embedding:
        """Embed a text that is searched. Errors are those of `get_text_embedding_batch`, without an ``index``.

        Returns:
            *Shape:* ``(dimensions,)``, Python floats, L2-normalised.
        """
        return self._reported(TEXTS.one(text))[0]

    async def aget_text_embedding(self, text: str) -> Embedding:
        """Do as `get_text_embedding`, without blocking the event loop. Cancelling stops the work."""
        return (await self._areported(TEXTS.one(text)))[0]

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **_: Any) -> list[Embedding]:  # noqa: FBT001, FBT002
        """Embed texts that are searched.

        Args:
            texts: Any number; none starts no engine.
            show_progress: Show a bar.

        Returns:
            One vector a text, in order. *Shape:* ``(len(texts), dimensions)``, Python floats, L2-normalised.

        Raises:
            InputError: A text cannot be embedded; ``index`` names it.
            OptionError: The checkpoint lacks the task or the dimensions, or there is no such engine option.
            CheckpointError: The model cannot be served.
            EngineError: The engine did not start, was closed or died.
            MissingExtraError: vLLM is not installed.
        """
        PAGE_TEXTS.embedded(texts, _BY_CALL)
        return self._batched(TEXTS, texts, show_progress=show_progress)

    async def aget_text_embedding_batch(
        self,
        texts: list[str],
        show_progress: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> list[Embedding]:
        """Do as `get_text_embedding_batch`, without blocking the event loop. Cancelling stops the work."""
        PAGE_TEXTS.embedded(texts, _BY_CALL)
        return await self._abatched(TEXTS, texts, show_progress=show_progress)

    @_dispatcher.span
    def get_image_embedding(self, img_file_path: LlamaIndexImage) -> Embedding:
        """Embed an image. Errors are those of `get_image_embedding_batch`, without an ``index``.

        An image has no role: it has the same vector when it is searched and when it is searched for.

        Returns:
            *Shape:* ``(dimensions,)``, Python floats, L2-normalised.
        """
        return self._reported(IMAGES.one(img_file_path))[0]

    @_dispatcher.span
    async def aget_image_embedding(self, img_file_path: LlamaIndexImage) -> Embedding:
        """Do as `get_image_embedding`, without blocking the event loop. Cancelling stops the work."""
        return (await self._areported(IMAGES.one(img_file_path)))[0]

    @_dispatcher.span
    def get_image_embedding_batch(
        self,
        img_file_paths: Sequence[LlamaIndexImage],
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> list[Embedding]:
        """Embed images.

        Args:
            img_file_paths: Paths, URLs and data URIs, also as ``str``; bytes, binary files, PIL images, `ImageInput`,
                nodes or blocks (see `jina_vllm_integrations.llama_index.images.image_item`).
            show_progress: Show a bar.

        Returns:
            One vector an image, in order. *Shape:* ``(len(img_file_paths), dimensions)``, Python floats, L2-normalised.

        Raises:
            ImageError: An image cannot be read, decoded or fetched; ``index`` names it.
            ItemTypeError: Something is no image; ``index`` names it.
            Exception: As `get_text_embedding_batch`.
        """
        return self._batched(IMAGES, img_file_paths, show_progress=show_progress)

    @_dispatcher.span
    async def aget_image_embedding_batch(
        self,
        img_file_paths: Sequence[LlamaIndexImage],
        show_progress: bool = False,  # noqa: FBT001, FBT002
    ) -> list[Embedding]:
        """Do as `get_image_embedding_batch`, without blocking the event loop. Cancelling stops the work."""
        return await self._abatched(IMAGES, img_file_paths, show_progress=show_progress)

    def __call__(self, nodes: Sequence[BaseNode], *, show_progress: bool = False, **_: Any) -> Sequence[BaseNode]:
        """Embed nodes: the image of one that has one, the text of any other.

        Returns:
            The nodes themselves, as LlamaIndex's embeddings do, each with its ``embedding``; in place of one that came
            from no document a copy that is its own source. If one cannot be embedded, none is changed.

        Raises:
            ItemTypeError: A node should have an image and has none; ``index`` names it.
            EmptyTextError: A node has neither text nor image, and ``empty_text`` is ``"raise"``; ``index`` names it.
            Exception: As `get_image_embedding_batch` and `get_text_embedding_batch`.
        """
        return _with_embeddings(nodes, self._batched(node_kind(self.empty_text), nodes, show_progress=show_progress))

    @_dispatcher.span
    async def acall(self, nodes: Sequence[BaseNode], *, show_progress: bool = False, **_: Any) -> Sequence[BaseNode]:
        """Do as a call, without blocking the event loop. Cancelling stops the work."""
        kind = node_kind(self.empty_text)
        return _with_embeddings(nodes, await self._abatched(kind, nodes, show_progress=show_progress))


def _with_embeddings(nodes: Sequence[BaseNode], vectors: Sequence[Embedding]) -> Sequence[BaseNode]:
    for node, vector in zip(nodes, vectors, strict=True):
        node.embedding = vector
    return [with_source(node) for node in nodes]
