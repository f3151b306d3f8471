"""Dense vectors in a key-value store: what an adapter keeps them under, whoever computes them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from jina_vllm_integrations.adapters.dense_records import from_record, to_content, to_record
from jina_vllm_integrations.encoding.content import digest
from jina_vllm_integrations.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.types import FloatArray

logger = logging.getLogger(__name__)

# Another one where equal vectors would be kept in other bytes.
_FORMAT = b"dense, float16, 1"


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


class DenseCache:
    """The dense vectors of an encoder's items in a key-value store, and notes on encoded images.

    A vector belongs to a content (a text, or an image's pixels whatever its file), to a model with all its weights and
    options (`Engine.fingerprint`), to a task, prompt and dimensions. Where any of these is another, nothing is found,
    and nothing is served for another. An entry that is damaged, or another program's, is logged, counts as missing and
    is written again.

    Args:
        encoder: Whose vectors.
        store: Has them under keys of 64 hexadecimal digits. The caller's; its exceptions are raised as they are.
        keeps: Whether to give it what was missing.
    """

    def __init__(self, encoder: JinaEncoder, store: VectorCache, *, keeps: bool = True) -> None:
        self._encoder = encoder
        self._store = store
        self._keeps = keeps

    def keys(self, contents: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what the vector of each `content_key` is kept under. May read the checkpoint's files."""
        facts = [
            _FORMAT,
            self._encoder.engine.fingerprint.encode(),
            self._encoder.task.encode(),
            str(self._encoder.dimensions).encode(),
        ]
        for content in contents:
            yield digest([*facts, content])

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return what is kept, by one call of the store's, and none where no key is asked for."""
        unique = list(dict.fromkeys(keys))
        return _whole(unique, self._store.mget([key.hex() for key in unique])) if unique else {}

    async def aget(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Do as `get`, without blocking the event loop."""
        unique = list(dict.fromkeys(keys))
        if not unique:
            return {}
        return await asyncio.to_thread(_whole, unique, await self._store.amget([key.hex() for key in unique]))

    def put(self, contents: Mapping[bytes, bytes]) -> None:
        """Keep vectors and notes by key, by one call of the store's, unless it is only read."""
        if contents and self._keeps:
            self._store.mset(_entries(contents))

    async def aput(self, contents: Mapping[bytes, bytes]) -> None:
        """Do as `put`, without blocking the event loop."""
        if contents and self._keeps:
            await self._store.amset(await asyncio.to_thread(_entries, contents))


def kept_content(vector: FloatArray, *, index: int | None = None) -> bytes:
    """Return a vector as it is kept.

    Raises:
        InputError: It is not finite; ``index`` is as given.
    """
    if not np.isfinite(vector).all():
        raise InputError(
            "a vector must be finite to be kept, got NaN or infinity. Embed the item again, with another dtype of the "
            "engine's if it stays so.",
            index=index,
        )
    return to_content(vector)


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
