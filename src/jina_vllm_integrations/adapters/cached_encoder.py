"""An encoder that computes only what a key-value store lacks."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from jina_vllm_integrations.adapters.dense_cache import kept_content
from jina_vllm_integrations.adapters.dense_records import to_vectors
from jina_vllm_integrations.encoding.in_flight import next_lot
from jina_vllm_integrations.encoding.results import dense_of, tokens_of
from jina_vllm_integrations.errors import EngineError, renaming
from jina_vllm_integrations.token_store.keys import each_pinned, each_raised
from jina_vllm_integrations.token_store.notes import Notes
from jina_vllm_integrations.types import Embedding, FloatArray, ImagePrompt, Item, Request, Role, TokenVectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jina_vllm_integrations.adapters.dense_cache import DenseCache
    from jina_vllm_integrations.encoding.encoder import JinaEncoder

T = TypeVar("T")

# The images of a lot are in memory, encoded or as pixels of three bytes. A URL's size is not known before.
_MOST_PIXELS = 2**28
_PIXELS_BEHIND_A_URL = 2**22
_SLICE = 1024


class CachedEncoder:
    """Embeds items as a `JinaEncoder` does, and computes only what a cache lacks, equal items once.

    Vectors are kept in float16, and returned as they are kept, of unit length again, also by the call that computes
    them.

    Args:
        encoder: Who computes.
        cache: Has the dense vectors of this encoder. It is asked for the notes on encoded images of a call, if there
            are any, for the vectors, and given what was missing, each at once; more often only where the images of a
            call would take too much memory.
    """

    def __init__(self, encoder: JinaEncoder, cache: DenseCache) -> None:
        self._encoder = encoder
        self._cache = cache

    def embed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Embed items as one vector each.

        Args:
            items: Texts and images. All are checked before any is computed.
            role: Of all.

        Returns:
            Each row L2-normalised. *Shape:* ``(len(items), dimensions)``, float32.

        Raises:
            InputError: An item cannot be embedded, or its vector cannot be kept; ``index`` names it.
            OptionError: The role does not exist.
            EngineError: The engine did not start, was closed or died.
            Exception: The cache's own.
        """
        vectors, requests = self._begun(items, role)
        for lot in _lots(requests):
            with renaming(lot):
                vectors[lot.start : lot.stop] = self._lot([requests[position] for position in lot])
        return vectors

    async def aembed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Do as `embed`, without blocking the event loop. Cancelling stops the work."""
        vectors, requests = await asyncio.to_thread(self._begun, items, role)
        for lot in _lots(requests):
            with renaming(lot):
                vectors[lot.start : lot.stop] = await self._alot([requests[position] for position in lot])
        return vectors

    def embed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Return what `embed` returns, and the token vectors, which no cache has: each item is computed.

        For a few items, such as a query. Arguments and errors are those of `embed`.

        Raises:
            CheckpointError: The checkpoint has no multi-vector head.
        """
        looked = self._looked_up(self._encoder.requests(items, role=role, output="both"))
        embeddings = list(self._encoder.compute(looked.tokens_of_all))
        with _located(looked.missing):
            computed = _contents(looked.missing, looked.of_missing(embeddings))
        self._cache.put({**looked.notes.new, **computed})
        return looked.vectors(computed), [tokens_of(embedding) for embedding in embeddings]

    async def aembed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Do as `embed_both`, without blocking the event loop. Cancelling stops the work."""
        requests = await asyncio.to_thread(self._encoder.requests, items, role=role, output="both")
        looked = await self._alooked_up(requests)
        embeddings = await self._encoder.acompute(looked.tokens_of_all)
        with _located(looked.missing):
            computed = _contents(looked.missing, looked.of_missing(embeddings))
        await self._cache.aput({**looked.notes.new, **computed})
        return looked.vectors(computed), [tokens_of(embedding) for embedding in embeddings]

    def _begun(self, items: Sequence[Item], role: Role) -> tuple[FloatArray, list[Request]]:
        requests = self._encoder.requests(items, role=role, output="dense")
        return np.empty((len(requests), self._encoder.dimensions), dtype=np.float32), requests

    def _lot(self, requests: Sequence[Request]) -> FloatArray:
        looked = self._looked_up(requests)
        with _located(looked.missing):
            computed = _contents(looked.missing, list(self._encoder.compute(looked.of_missing(looked.pinned))))
        self._cache.put({**looked.notes.new, **computed})
        return looked.vectors(computed)

    async def _alot(self, requests: Sequence[Request]) -> FloatArray:
        looked = await self._alooked_up(requests)
        with _located(looked.missing):
            embeddings = await self._encoder.acompute(looked.of_missing(looked.pinned))
            computed = await asyncio.to_thread(_contents, looked.missing, embeddings)
        await self._cache.aput({**looked.notes.new, **computed})
        return await asyncio.to_thread(looked.vectors, computed)

    def _looked_up(self, requests: Sequence[Request]) -> _LookedUp:
        pinned = list(each_raised(each_pinned(requests)))
        notes = Notes(pinned)
        keys = list(self._cache.keys(notes.contents(self._cache.get(notes.keys))))
        return _LookedUp(pinned=pinned, notes=notes, keys=keys, found=self._cache.get(keys))

    async def _alooked_up(self, requests: Sequence[Request]) -> _LookedUp:
        pinned = await _in_slices(each_raised(each_pinned(requests)))
        notes = await asyncio.to_thread(Notes, pinned)
        keys = await _in_slices(self._cache.keys(notes.contents(await self._cache.aget(notes.keys))))
        return _LookedUp(pinned=pinned, notes=notes, keys=keys, found=await self._cache.aget(keys))


def cached(encoder: JinaEncoder, cache: DenseCache | None) -> JinaEncoder | CachedEncoder:
    """Return who embeds for an adapter that may have a cache."""
    return encoder if cache is None else CachedEncoder(encoder, cache)


@dataclass(frozen=True, kw_only=True)
class _LookedUp:
    """Requests, and what the cache has of them.

    Attributes:
        pinned: The requests.
        notes: On their images.
        keys: Theirs, in order.
        found: Contents by key.
        missing: The keys that were not found, each with the position of the first request that has it.
    """

    pinned: list[Request]
    notes: Notes
    keys: list[bytes]
    found: dict[bytes, bytes]

    @cached_property
    def missing(self) -> dict[bytes, int]:
        missing: dict[bytes, int] = {}
        for position, key in enumerate(self.keys):
            if key not in self.found:
                missing.setdefault(key, position)
        return missing

    @property
    def tokens_of_all(self) -> list[Request]:
        """Return requests of all token vectors, and of those dense vectors alone that were not found."""
        return [
            replace(request, output="tokens") if key in self.found else request
            for request, key in zip(self.pinned, self.keys, strict=True)
        ]

    def of_missing(self, values: Sequence[T]) -> list[T]:
        """Return those of one value a request that belong to what is missing."""
        return [values[position] for position in self.missing.values()]

    def vectors(self, computed: Mapping[bytes, bytes]) -> FloatArray:
        """Return a vector a request."""
        contents = {**self.found, **computed}
        return to_vectors([contents[key] for key in self.keys])


def _lots(requests: Sequence[Request]) -> Iterator[range]:
    """Yield the positions of as many requests at a time as may be in memory."""
    start, n_pixels = 0, 0
    for position, request in enumerate(requests):
        size = _n_pixels(request)
        if position > start and n_pixels + size > _MOST_PIXELS:
            yield range(start, position)
            start, n_pixels = position, 0
        n_pixels += size
    if requests:
        yield range(start, len(requests))


def _n_pixels(request: Request) -> int:
    if not isinstance(request.prompt, ImagePrompt):
        return 0
    size = request.prompt.image.size
    return _PIXELS_BEHIND_A_URL if size is None else size[0] * size[1]


async def _in_slices(values: Iterator[T]) -> list[T]:
    """Take all of an iterator in worker threads, a few milliseconds at a time, so that cancelling ends it."""
    taken: list[T] = []
    while some := await asyncio.to_thread(next_lot, values, _SLICE):
        taken += some
    return taken


@contextmanager
def _located(missing: Mapping[bytes, int]) -> Iterator[None]:
    """Let an error about one of those that were missing say which of all it is."""
    try:
        with renaming(list(missing.values())):
            yield
    except EngineError as error:
        error.add_note("of the items that were not in the cache")
        raise


def _contents(keys: Iterable[bytes], embeddings: Sequence[Embedding]) -> dict[bytes, bytes]:
    return {
        key: kept_content(dense_of(embedding), index=index)
        for index, (key, embedding) in enumerate(zip(keys, embeddings, strict=True))
    }
