"""LangChain's key-value store, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.stores import ByteStore

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.foundation.sharing import SharedByCopies
from jina_vllm_integrations.token_store.shelf import LONGEST_KEY, Shelf

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

# In less, the file's own bookkeeping leaves too little room.
_LEAST_BYTES = 2**23


class JinaVLLMByteStore(SharedByCopies, Closable, ByteStore):
    """Bytes by key in a folder, read by many processes and written by one. A cache: what it holds may be evicted.

    What `mset` returned for is on disk, and stays there if the process is killed. Values are checked when they are
    read: a damaged one is logged and counts as missing. All methods may be called from many threads at once; the
    asynchronous ones do so.

    Args:
        path: The folder; made if need be. Not that of a `TokenStore`, which keeps its vectors in another format.
        max_bytes: The largest size of its file; one value may take a sixteenth of it. The values that were not used
            for the longest time give way. A vector of 2048 dimensions takes 9 KB, because it is a little longer than a
            page of the file; one of 512 dimensions takes 3.5 KB.
        readonly: Read beside a process that writes. Embeddings that lack a vector compute it and do not keep it.

    Raises:
        OptionError: A value does not exist.
        StoreInUseError: The folder is open for writing elsewhere, or open in this process.
        StoreFormatError: It holds something else, or a newer version of this package wrote it.
        StoreDamagedError: It is no store, or not a whole one.
        StoreFullError: The disk is full.
        StoreError: It is to be read and does not exist, or the folder cannot be used.

    Example:
        >>> with JinaVLLMByteStore("vectors") as cache:
        ...     embeddings = JinaVLLMEmbeddings(model="jinaai/jina-embeddings-v4-vllm-retrieval", cache=cache)
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 8 * 2**30, readonly: bool = False) -> None:
        check_count("max_bytes", max_bytes, least=_LEAST_BYTES)
        self.readonly = readonly
        self._shelf = Shelf(
            Path(path), max_bytes=max_bytes, readonly=readonly, owner=type(self).__name__, database=b"bytes"
        )

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each key, all as of one moment; ``None`` where there is none.

        Raises:
            OptionError: A key is none.
            StoreError: The store was closed, or its files cannot be read.
        """
        values = self._shelf.get_many([_encoded(key) for key in keys])
        return [None if value is None else bytes(value) for value in values]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep values, each in place of the one that its key had.

        Raises:
            OptionError: A key is none; no value is kept.
            StoreFullError: The disk is full, or a value is larger than the limit allows.
            StoreError: The store is open for reading only, or was closed.
        """
        self._shelf.put_many([(_encoded(key), value) for key, value in key_value_pairs])

    def mdelete(self, keys: Sequence[str]) -> None:
        """Delete values. Keys without one are passed over.

        Raises:
            OptionError: A key is none; no value is deleted.
            StoreError: The store is open for reading only, or was closed.
        """
        self._shelf.delete_many([_encoded(key) for key in keys])

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Yield the keys that begin with a prefix, or all. What changes meanwhile may be seen or not.

        Raises:
            StoreError: The store was closed.
        """
        for key in self._shelf.keys((prefix or "").encode()):
            yield key.decode()

    def close(self) -> None:
        """Close. What was kept stays."""
        self._shelf.close()


def _encoded(key: object) -> bytes:
    if isinstance(key, str) and 0 < len(encoded := key.encode()) <= LONGEST_KEY:
        return encoded
    raise OptionError(
        f"a key must be a str of 1 to {LONGEST_KEY} bytes in UTF-8, got {key!r:.60}. Hash what is longer, such as with "
        "hashlib.sha256(...).hexdigest()."
    )
