"""Vectors in any of LlamaIndex's key-value stores."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.storage.kvstore.types import BaseKVStore

# Not the one of LlamaIndex's own embeddings, which know a vector by its text alone.
COLLECTION = "jina_vllm_embeddings"

_FIELD = "record"
# A store over a network answers these at once.
_CONCURRENTLY = 16


class KVStoreBytes:
    """A store of LlamaIndex's as one of bytes by key.

    A value is the bytes in base64, because many stores write JSON.

    Args:
        store: The caller's.
    """

    def __init__(self, store: BaseKVStore) -> None:
        self._store = store

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of each key; ``None`` where there is no value, nothing in them where it is another's."""
        return [_decoded(self._store.get(key, collection=COLLECTION)) for key in keys]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep bytes."""
        self._store.put_all(_encoded(key_value_pairs), collection=COLLECTION)

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Do as `mget` by the store's asynchronous methods, several keys at a time."""
        values: list[Any] = []
        for start in range(0, len(keys), _CONCURRENTLY):
            some = keys[start : start + _CONCURRENTLY]
            values += await asyncio.gather(*(self._store.aget(key, collection=COLLECTION) for key in some))
        return await asyncio.to_thread(lambda: [_decoded(value) for value in values])

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Do as `mset` by the store's asynchronous methods."""
        await self._store.aput_all(await asyncio.to_thread(_encoded, key_value_pairs), collection=COLLECTION)


def _encoded(pairs: Sequence[tuple[str, bytes]]) -> list[tuple[str, dict[str, str]]]:
    return [(key, {_FIELD: base64.b64encode(value).decode()}) for key, value in pairs]


def _decoded(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value[_FIELD], validate=True)
    except (KeyError, TypeError, binascii.Error):  # whoever reads the bytes says that they are damaged
        return b""
