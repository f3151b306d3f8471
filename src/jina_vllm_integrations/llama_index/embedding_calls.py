"""How an embedding of LlamaIndex's computes: with events, callbacks, a rate limit and a cache."""

# Pydantic reads the annotations of this module, so they are not postponed.
import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from llama_index.core.base.embeddings.base import Embedding
from pydantic import PrivateAttr

from jina_vllm_integrations.adapters.cached_encoder import CachedEncoder
from jina_vllm_integrations.adapters.dense_cache import DenseCache
from jina_vllm_integrations.adapters.lazy_encoder import LazyEncoder
from jina_vllm_integrations.encoding.encoder import JinaEncoder
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.progress import progress_bar
from jina_vllm_integrations.llama_index.batches import IMAGES, QUERIES, TEXTS, Batch, ItemEncoder, Kind
from jina_vllm_integrations.llama_index.caching import KVStoreBytes
from jina_vllm_integrations.llama_index.duplicates import UniqueEncoder
from jina_vllm_integrations.llama_index.embedding_events import embedding_events
from jina_vllm_integrations.llama_index.embedding_settings import EmbeddingSettings
from jina_vllm_integrations.llama_index.images import LlamaIndexImage
from jina_vllm_integrations.llama_index.worker_processes import check_may_start, worker_process

# While the engine has one batch, the next is read and checked.
_BATCHES_AT_ONCE = 2


class EmbeddingCalls(Closable, EmbeddingSettings):
    """The calls of a `JinaVLLMEmbedding`, which gives them LlamaIndex's names."""

    _encoder: LazyEncoder = PrivateAttr()
    _worker: str | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Check what an engine needs, without making one."""
        super().model_post_init(context)
        self._encoder = LazyEncoder.of(self, dimensions=self.dimensions, empty_text=self.empty_text)

    def encoder(self) -> JinaEncoder:
        """Return the encoder behind, for what needs token vectors as well. Made when it is first needed.

        Raises:
            CheckpointError: The model cannot be served.
            OptionError: The checkpoint lacks the task or the dimensions, or there is no such engine option.
            EngineClosedError: This was closed.
            EngineStartError: This was unpickled in a worker process.
            MissingExtraError: vLLM is not installed.
        """
        check_may_start(self._worker)
        encoder = self._encoder.get()
        if self.engine is not None:
            self.model_name = encoder.engine.checkpoint.model
        return encoder

    def dense_cache(self) -> DenseCache | None:
        """Return the cache as the encoder's vectors are kept in it, for what computes them in its own way.

        Errors are those of `encoder`.
        """
        if self.embeddings_cache is None:
            return None
        return DenseCache(self.encoder(), KVStoreBytes(self.embeddings_cache))

    @contextmanager
    def reporting(self) -> Iterator[Callable[[Sequence[str], list[Embedding]], None]]:
        """Have the rate limiter asked and events and callbacks sent of a batch, whoever computes it within.

        Yields what is to be called with what the batch's items are called, and their vectors. Errors are those of
        `encoder`, and the rate limiter's.
        """
        self.encoder()  # so that the start event names the model
        with embedding_events(self) as end:
            if self.rate_limiter is not None:
                self.rate_limiter.acquire()
            yield end

    @asynccontextmanager
    async def areporting(self) -> AsyncIterator[Callable[[Sequence[str], list[Embedding]], None]]:
        """Do as `reporting`, without blocking the event loop."""
        await asyncio.to_thread(self.encoder)
        with embedding_events(self) as end:
            if self.rate_limiter is not None:
                await self.rate_limiter.async_acquire()
            yield end

    def close(self) -> None:
        """Close an engine of its own; the caller's stays open. Later calls raise `EngineClosedError`."""
        self._encoder.close()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpickled, super().__reduce__()[:1]

    # What LlamaIndex's wrappers of an embedding call directly: without events and callbacks.

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._vectors(QUERIES.one(query))[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._avectors(QUERIES.one(query)))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._vectors(TEXTS.one(text))[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._avectors(TEXTS.one(text)))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._vectors(TEXTS.all(texts))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self._avectors(TEXTS.all(texts))

    def _get_image_embedding(self, img_file_path: LlamaIndexImage) -> Embedding:
        return self._vectors(IMAGES.one(img_file_path))[0]

    async def _aget_image_embedding(self, img_file_path: LlamaIndexImage) -> Embedding:
        return (await self._avectors(IMAGES.one(img_file_path)))[0]

    def _get_image_embeddings(self, img_file_paths: Sequence[LlamaIndexImage]) -> list[Embedding]:
        return self._vectors(IMAGES.all(img_file_paths))

    async def _aget_image_embeddings(self, img_file_paths: Sequence[LlamaIndexImage]) -> list[Embedding]:
        return await self._avectors(IMAGES.all(img_file_paths))

    def _vectors(self, batch: Batch) -> list[Embedding]:
        return batch.vectors(self._item_encoder(self.encoder())) if batch.inputs else []

    async def _avectors(self, batch: Batch) -> list[Embedding]:
        if not batch.inputs:
            return []
        return await batch.avectors(self._item_encoder(await asyncio.to_thread(self.encoder)))

    def _reported(self, batch: Batch) -> list[Embedding]:
        with self.reporting() as end:
            vectors = self._vectors(batch)
            end(batch.labels(), vectors)
        return vectors

    async def _areported(self, batch: Batch) -> list[Embedding]:
        async with self.areporting() as end:
            vectors = await self._avectors(batch)
            end(await asyncio.to_thread(batch.labels), vectors)
        return vectors

    def _batched(self, kind: Kind, inputs: Sequence[Any], *, show_progress: bool) -> list[Embedding]:
        vectors: list[Embedding] = []
        with progress_bar(inputs, "Generating embeddings", shown=show_progress) as bar:
            for batch in kind.batches(inputs, self.embed_batch_size):
                vectors += self._reported(batch)
                bar.update(len(batch.inputs))
        return vectors

    async def _abatched(self, kind: Kind, inputs: Sequence[Any], *, show_progress: bool) -> list[Embedding]:
        room = asyncio.Semaphore(self.num_workers or _BATCHES_AT_ONCE)
        with progress_bar(inputs, "Generating embeddings", shown=show_progress) as bar:

            async def embedded(batch: Batch) -> list[Embedding]:
                async with room:
                    vectors = await self._areported(batch)
                bar.update(len(batch.inputs))
                return vectors

            batches = kind.batches(inputs, self.embed_batch_size)
            tasks = [asyncio.create_task(embedded(batch)) for batch in batches]
            try:
                return [vector for vectors in await asyncio.gather(*tasks) for vector in vectors]
            finally:
                for task in tasks:  # the others, where one failed
                    task.cancel()

    def _item_encoder(self, encoder: JinaEncoder) -> ItemEncoder:
        cache = self.dense_cache()
        return UniqueEncoder(encoder) if cache is None else CachedEncoder(encoder, cache)


def _unpickled(make: Callable[[], EmbeddingCalls]) -> EmbeddingCalls:
    embedding = make()
    embedding._worker = worker_process()  # noqa: SLF001 - this is how it is made
    return embedding
