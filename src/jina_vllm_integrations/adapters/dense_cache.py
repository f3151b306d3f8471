"""An encoder that computes only what a key-value store lacks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from jina_vllm_integrations.adapters.dense_records import from_record, to_content, to_record, to_vectors
from jina_vllm_integrations.encoding.content import digest
from jina_vllm_integrations.encoding.in_flight import next_lot
from jina_vllm_integrations.errors import EngineError, InputError, renaming
from jina_vllm_integrations.token_store.keys import each_pinned, each_raised
from jina_vllm_integrations.token_store.notes import Notes
from jina_vllm_integrations.types import Embedding, FloatArray, ImagePrompt, Item, Request, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Another one where equal vectors would be kept in other bytes.
_FORMAT = b"dense, float16, 1"
# The images of a lot are in memory, encoded or as pixels of three bytes. A URL's size is not known before.
_MOST_PIXELS = 2**28
_PIXELS_BEHIND_A_URL = 2**22
_SLICE = 1024


class VectorCache(Protocol):
    """Bytes by key, in any database: LangChain's ``ByteStore``, for one."""

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is kept under each key; ``None`` for nothing."""

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep something under each key."""

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Do as `mget`, without blocking the event loop."""

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Do as `mset`, without blocking the event loop."""


class CachedEncoder:
    """Embeds items as a `JinaEncoder` does, and computes only what a cache lacks, equal items once.

    A vector belongs to a content (a text, or an image's pixels whatever its file), to a model with all its weights and
    options (`Engine.fingerprint`), to a task, prompt and dimensions. Where any of these is another, nothing is found,
    and nothing is served for another. An entry that is damaged, or another program's, is logged, counts as missing and
    is written again.

    Vectors are kept in float16, and returned as they are kept, of unit length again, also by the call that computes
    them.

    Args:
        encoder: Who computes.
        cache: Whose keys are 64 hexadecimal digits. It is asked for the notes on encoded images of a call, if there
            are any, for the vectors, and given what was missing, each at once; more often only where the images of a
            call would take too much memory.
        keeps: Whether to give it what was missing.
    """

    def __init__(self, encoder: JinaEncoder, cache: VectorCache, *, keeps: bool = True) -> None:
        self._encoder = encoder
        self._cache = cache
        self._keeps = keeps

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

    def _begun(self, items: Sequence[Item], role: Role) -> tuple[FloatArray, list[Request]]:
        requests = self._encoder.requests(items, role=role, output="dense")
        return np.empty((len(requests), self._encoder.dimensions), dtype=np.float32), requests

    def _lot(self, requests: Sequence[Request]) -> FloatArray:
        pinned = list(each_raised(each_pinned(requests)))
        notes = Notes(pinned)
        keys = list(self._keys(notes, self._get(notes.keys)))
        found = self._get(keys)
        missing = _missing(keys, found)
        with _located(missing):
            computed = _contents(missing, list(self._encoder.compute([pinned[place] for place in missing.values()])))
        self._put({**notes.new, **computed})
        return _vectors(keys, {**found, **computed})

    async def _alot(self, requests: Sequence[Request]) -> FloatArray:
        pinned = await _in_slices(each_raised(each_pinned(requests)))
        notes = await asyncio.to_thread(Notes, pinned)
        keys = await _in_slices(self._keys(notes, await self._aget(notes.keys)))
        found = await self._aget(keys)
        missing = _missing(keys, found)
        with _located(missing):
            embeddings = await self._encoder.acompute([pinned[place] for place in missing.values()])
            computed = await asyncio.to_thread(_contents, missing, embeddings)
        await self._aput({**notes.new, **computed})
        return await asyncio.to_thread(_vectors, keys, {**found, **computed})

    def _keys(self, notes: Notes, noted: Mapping[bytes, bytes]) -> Iterator[bytes]:
        facts = [
            _FORMAT,
            self._encoder.engine.fingerprint.encode(),
            self._encoder.task.encode(),
            str(self._encoder.dimensions).encode(),
        ]
        for content in notes.contents(noted):
            yield digest([*facts, content])

    def _get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        unique = list(dict.fromkeys(keys))
        return _whole(unique, self._cache.mget([key.hex() for key in unique])) if unique else {}

    async def _aget(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        unique = list(dict.fromkeys(keys))
        if not unique:
            return {}
        return await asyncio.to_thread(_whole, unique, await self._cache.amget([key.hex() for key in unique]))

    def _put(self, contents: Mapping[bytes, bytes]) -> None:
        if contents and self._keeps:
            self._cache.mset(_entries(contents))

    async def _aput(self, contents: Mapping[bytes, bytes]) -> None:
        if contents and self._keeps:
            await self._cache.amset(await asyncio.to_thread(_entries, contents))


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


def _missing(keys: Sequence[bytes], found: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """Return the keys that were not found, each with the position of the first request that has it."""
    missing: dict[bytes, int] = {}
    for position, key in enumerate(keys):
        if key not in found:
            missing.setdefault(key, position)
    return missing


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
    contents = {}
    for index, (key, embedding) in enumerate(zip(keys, embeddings, strict=True)):
        assert embedding.dense is not None
        if not np.isfinite(embedding.dense).all():
            raise InputError(
                "a vector must be finite to be kept, got NaN or infinity. Embed the item again, with another dtype of "
                "the engine's if it stays so.",
                index=index,
            )
        contents[key] = to_content(embedding.dense)
    return contents


def _vectors(keys: Sequence[bytes], contents: Mapping[bytes, bytes]) -> FloatArray:
    return to_vectors([contents[key] for key in keys])


def _whole(keys: Sequence[bytes], records: Sequence[bytes | None]) -> dict[bytes, bytes]:
    """Return the contents of records, without those that are missing or not what was written."""
    contents = {}
    for key, record in zip(keys, records, strict=True):
        content = None if record is None else from_record(key, record)
        if content is not None:
            contents[key] = content
        elif record is not None:
            logger.warning("the cache's entry %s is damaged or another program's, and counts as missing", key.hex())
    return contents


def _entries(contents: Mapping[bytes, bytes]) -> list[tuple[str, bytes]]:
    return [(key.hex(), to_record(key, content)) for key, content in contents.items()]
