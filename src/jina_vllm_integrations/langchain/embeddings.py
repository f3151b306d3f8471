"""jina-embeddings-v4 as LangChain's `Embeddings`, for images as well."""

# Pydantic reads the annotations of this module, so they are not postponed.
import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, overload

from langchain_core.embeddings import Embeddings
from langchain_core.stores import ByteStore
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SkipValidation

from jina_vllm_integrations.adapters.cached_encoder import CachedEncoder, cached
from jina_vllm_integrations.adapters.copying import CopiedBySettings
from jina_vllm_integrations.adapters.dense_cache import DenseCache
from jina_vllm_integrations.adapters.lazy_encoder import LazyEncoder
from jina_vllm_integrations.adapters.page_texts import PAGE_TEXTS
from jina_vllm_integrations.encoding.encoder import JinaEncoder
from jina_vllm_integrations.encoding.engine import Engine
from jina_vllm_integrations.errors import naming
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.langchain.batches import Batches
from jina_vllm_integrations.langchain.byte_store import JinaVLLMByteStore
from jina_vllm_integrations.langchain.handover import taken_over
from jina_vllm_integrations.langchain.images import LangChainImage, LangChainInput, image_item, multimodal_item
from jina_vllm_integrations.types import EmptyText, FloatArray, Item, Role, Task, TextInput

_BY_RETRIEVER = "Add the documents by JinaVLLMRetriever(vectorstore=...).add_documents, which embeds their images."


class JinaVLLMEmbeddings(Closable, CopiedBySettings, Embeddings):
    """Texts and images for any vector store of LangChain's, in one space.

    A store that is given pages, as by ``Chroma.from_documents(PageImageLoader(...).load(), embeddings)``, embeds their
    texts, not their images. `JinaVLLMRetriever`'s ``add_documents`` embeds the images, in any store.

    Documents and queries get prompts of their own. Vectors are lists of Python floats, of unit length. Making one
    starts nothing; the first text or image does. May be used by many threads and event loops at once, whose requests
    share the engine's batches; asynchronous calls hold no thread while they wait.

    The settings do not change; ``model_copy(update=...)`` makes another one, checked anew. Copies, deep ones too,
    share an engine that was given and make their own otherwise (of equal settings, engines share one vLLM). Pickled it
    travels without its engine, and not at all with one that was given, or with a cache.

    Give it a ``cache``: each text and image is then computed once, by this and all later runs. Roles are apart in it,
    and so are models with all their weights and options, tasks and dimensions; an image is its pixels, whatever its
    file. Vectors come from it in float16, scaled to unit length again, from the first call on, which moves a cosine by
    less than 1e-4 (2e-5 at 2048 dimensions). A batch is kept when it is done.

    Args:
        engine: The caller's, who closes it. Not in the representation, nor serialised.
        model: Whose engine to make where none was given: a directory or a hub id. Also ``model_name``.
        task: ``"retrieval"``, ``"text-matching"`` or ``"code"``.
        dimensions: Matryoshka size, one of the checkpoint's; ``None`` for the full size.
        batch_size: How many items are read and checked at once, before the first of them is sent. A bad one raises
            before any work of its batch.
        show_progress_bar: Of calls with many items. Also ``show_progress``.
        truncate: Cut texts that are longer than the engine takes, instead of raising. Logged once.
        image_limits: What an image may cost.
        empty_text: A text without content raises; or ``"prompt"`` to embed its prompt alone, as the model's own code
            does, for stores and splitters that give one. A retriever's ``add_documents`` refuses it all the same.
        engine_options: Those of `InProcessEngine`, vLLM's among them, for an engine of its own.
        cache: Any `ByteStore` of LangChain's, such as a `JinaVLLMByteStore`, which keeps to a size. The caller's, who
            closes it. Its exceptions are raised as they are.

    Raises:
        ValidationError: Pydantic's, a ``ValueError``: an option or value that does not exist, neither or both of
            ``engine`` and ``model``, or ``engine_options`` with an engine.

    Example:
        >>> with JinaVLLMEmbeddings(model="jinaai/jina-embeddings-v4-vllm-retrieval") as embeddings:
        ...     store = InMemoryVectorStore(embeddings)
        ...     store.add_texts(["Der Zug nach Berlin fährt um acht."])
        ...     (document,) = store.similarity_search("When does the train leave?", k=1)
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=()
    )

    engine: SkipValidation[Engine | None] = Field(default=None, exclude=True, repr=False)
    model: str | Path | None = Field(default=None, validation_alias=AliasChoices("model", "model_name"))
    task: Task = "retrieval"
    dimensions: int | None = None
    batch_size: int = Field(default=1024, ge=1)
    show_progress_bar: bool = Field(default=False, validation_alias=AliasChoices("show_progress_bar", "show_progress"))
    truncate: bool = False
    image_limits: ImageLimits = ImageLimits()
    empty_text: EmptyText = "raise"
    engine_options: dict[str, Any] = Field(default_factory=dict, repr=False)  # may hold a token of the hub
    cache: ByteStore | None = Field(default=None, exclude=True, repr=False)

    _encoder: LazyEncoder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Check what an engine needs, without making one."""
        super().model_post_init(context)
        self._encoder = LazyEncoder.of(self, dimensions=self.dimensions, empty_text=self.empty_text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts that are searched.

        Args:
            texts: Any number; none starts no engine.

        Returns:
            One vector a text, in order. *Shape:* ``(len(texts), dimensions)``, Python floats, L2-normalised.

        Raises:
            InputError: A text cannot be embedded; ``index`` names it.
            OptionError: The checkpoint lacks the task or the dimensions, or there is no such engine option.
            CheckpointError: The model cannot be served.
            EngineError: The engine did not start, was closed or died.
            MissingExtraError: vLLM is not installed.
        """
        handed = taken_over(self, texts)
        if handed is not None:
            return handed
        PAGE_TEXTS.embedded(texts, _BY_RETRIEVER)
        return self._vectors(texts, TextInput, "document")

    def embed_query(self, text: str) -> list[float]:
        """Embed a text that is searched for. Errors are those of `embed_documents`, without an ``index``.

        Returns:
            *Shape:* ``(dimensions,)``, Python floats, L2-normalised.
        """
        return self._vector(text, TextInput, "query")

    @overload
    def embed_image(self, uris: list[Any] | tuple[Any, ...]) -> list[list[float]]: ...

    @overload
    def embed_image(self, uris: LangChainImage) -> list[float]: ...

    def embed_image(self, uris: Any) -> list[list[float]] | list[float]:
        """Embed images as vector stores ask for it: a list as `embed_images`, one image as one vector.

        An image has no role: it has the same vector when it is searched and when it is searched for.
        """
        if isinstance(uris, list | tuple):
            return self.embed_images(uris)
        return self._vector(uris, image_item, "document")

    def embed_images(self, images: Iterable[LangChainImage]) -> list[list[float]]:
        """Embed images.

        Args:
            images: Paths, URLs and data URIs, also as ``str``; bytes, binary files, PIL images, `ImageInput`, `Blob`,
                or LangChain's content blocks (see `jina_vllm_integrations.langchain.images.image_item`).

        Returns:
            One vector an image, in order. *Shape:* ``(len(images), dimensions)``, Python floats, L2-normalised.

        Raises:
            ImageError: An image cannot be read, decoded or fetched; ``index`` names it.
            ItemTypeError: Something is no image; ``index`` names it.
        """
        return self._vectors(images, image_item, "document")

    def embed_multimodal(self, inputs: Iterable[LangChainInput], input_type: Role = "document") -> list[list[float]]:
        """Embed texts and images, each as one vector.

        Args:
            inputs: A ``str`` is a text; all else as for `embed_images`, and text blocks.
            input_type: ``"document"`` or ``"query"``, which decides the prompt of texts.

        Returns:
            One vector an input, in order. *Shape:* ``(len(inputs), dimensions)``, Python floats, L2-normalised.

        Raises:
            OptionError: There is no such input type.
            InputError: An input cannot be embedded; ``index`` names it.
        """
        check_choice("input_type", input_type, Role)
        return self._vectors(inputs, multimodal_item, input_type)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Do as `embed_documents`, without blocking the event loop. Cancelling stops the work."""
        handed = taken_over(self, texts)
        if handed is not None:
            return handed
        PAGE_TEXTS.embedded(texts, _BY_RETRIEVER)
        return await self._avectors(texts, TextInput, "document")

    async def aembed_query(self, text: str) -> list[float]:
        """Do as `embed_query`, without blocking the event loop. Cancelling stops the work."""
        return await self._avector(text, TextInput, "query")

    @overload
    async def aembed_image(self, uris: list[Any] | tuple[Any, ...]) -> list[list[float]]: ...

    @overload
    async def aembed_image(self, uris: LangChainImage) -> list[float]: ...

    async def aembed_image(self, uris: Any) -> list[list[float]] | list[float]:
        """Do as `embed_image`, without blocking the event loop. Cancelling stops the work."""
        if isinstance(uris, list | tuple):
            return await self.aembed_images(uris)
        return await self._avector(uris, image_item, "document")

    async def aembed_images(self, images: Iterable[LangChainImage]) -> list[list[float]]:
        """Do as `embed_images`, without blocking the event loop. Cancelling stops the work."""
        return await self._avectors(images, image_item, "document")

    async def aembed_multimodal(
        self, inputs: Iterable[LangChainInput], input_type: Role = "document"
    ) -> list[list[float]]:
        """Do as `embed_multimodal`, without blocking the event loop. Cancelling stops the work."""
        check_choice("input_type", input_type, Role)
        return await self._avectors(inputs, multimodal_item, input_type)

    def encoder(self) -> JinaEncoder:
        """Return the encoder behind, for what needs token vectors as well. Made when it is first needed.

        Raises:
            CheckpointError: The model cannot be served.
            OptionError: The checkpoint lacks the task or the dimensions, or there is no such engine option.
            EngineClosedError: This was closed.
            MissingExtraError: vLLM is not installed.
        """
        return self._encoder.get()

    def dense_cache(self) -> DenseCache | None:
        """Return the cache as the encoder's vectors are kept in it, for what computes them in its own way.

        Errors are those of `encoder`.
        """
        if self.cache is None:
            return None
        keeps = not (isinstance(self.cache, JinaVLLMByteStore) and self.cache.readonly)
        return DenseCache(self._encoder.get(), self.cache, keeps=keeps)

    def close(self) -> None:
        """Close an engine of its own; the caller's stays open. Later calls raise `EngineClosedError`."""
        self._encoder.close()

    def _vector(self, given: Any, item_of: Callable[[Any], Item], role: Role) -> list[float]:
        with naming(None):
            (vector,) = self._cached_encoder().embed([item_of(given)], role=role)
        return _python_floats(vector)

    async def _avector(self, given: Any, item_of: Callable[[Any], Item], role: Role) -> list[float]:
        encoder = await asyncio.to_thread(self._cached_encoder)
        with naming(None):
            (vector,) = await encoder.aembed([item_of(given)], role=role)
        return _python_floats(vector)

    def _vectors(self, inputs: Iterable[Any], item_of: Callable[[Any], Item], role: Role) -> list[list[float]]:
        batches = self._batches(inputs, item_of, role)
        if not batches.inputs:
            return []
        encoder = self._cached_encoder()
        return batches.cached_vectors(encoder) if isinstance(encoder, CachedEncoder) else batches.vectors(encoder)

    async def _avectors(self, inputs: Iterable[Any], item_of: Callable[[Any], Item], role: Role) -> list[list[float]]:
        batches = self._batches(inputs, item_of, role)
        if not batches.inputs:
            return []
        return await batches.avectors(await asyncio.to_thread(self._cached_encoder))

    def _cached_encoder(self) -> JinaEncoder | CachedEncoder:
        return cached(self._encoder.get(), self.dense_cache())

    def _batches(self, inputs: Iterable[Any], item_of: Callable[[Any], Item], role: Role) -> Batches:
        return Batches.of(inputs, item_of, role=role, size=self.batch_size, progress=self.show_progress_bar)


def _python_floats(vector: FloatArray) -> list[float]:
    floats: list[float] = vector.tolist()
    return floats
