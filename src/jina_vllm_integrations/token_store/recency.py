"""Which entries of a shelf were used last, and how many bytes all of them take."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from jina_vllm_integrations.token_store.pages import room

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import lmdb

_NUMBER = struct.Struct(">Q")  # big-endian, so that LMDB's order of keys is that of numbers
_STAMP = struct.Struct(">QQ")
_N_BYTES = b"bytes"


class Recency:
    """A number for each use of an entry, growing; kept beside the entries and written in their transactions.

    Args:
        databases: By name: its own, and ``b"facts"``, where the sum of bytes is.

    Attributes:
        DATABASES: Names of its own.
    """

    DATABASES = (b"keys by use", b"uses by key")

    def __init__(self, databases: Mapping[bytes, lmdb._Database]) -> None:
        self._facts = databases[b"facts"]
        self._keys, self._stamps = (databases[name] for name in self.DATABASES)

    def n_bytes(self, transaction: lmdb.Transaction) -> int:
        """Return what all entries take on disk."""
        stored = transaction.get(_N_BYTES, db=self._facts)
        return int(_NUMBER.unpack(stored)[0]) if stored else 0

    def add(self, transaction: lmdb.Transaction, key: bytes, size: int) -> None:
        """Note that an entry was written now, new or in place of another."""
        self._remove(transaction, key)
        self._stamp(transaction, key, room(key, size))

    def touch(self, transaction: lmdb.Transaction, key: bytes) -> None:
        """Note that an entry was used now, unless it is gone."""
        if n_bytes := self._remove(transaction, key):
            self._stamp(transaction, key, n_bytes)

    def forget(self, transaction: lmdb.Transaction, key: bytes) -> None:
        """Note that an entry was deleted."""
        self._remove(transaction, key)

    def oldest_beyond(self, transaction: lmdb.Transaction, n_bytes: int) -> Iterator[bytes]:
        """Yield and forget the entries that were not used for the longest time, until the others take no more bytes."""
        with transaction.cursor(db=self._keys) as cursor:
            while self.n_bytes(transaction) > n_bytes and cursor.first():
                key = bytes(cursor.value())
                self._remove(transaction, key)
                yield key

    def _stamp(self, transaction: lmdb.Transaction, key: bytes, n_bytes: int) -> None:
        with transaction.cursor(db=self._keys) as cursor:
            number = _NUMBER.unpack(cursor.key())[0] + 1 if cursor.last() else 0
        transaction.put(_NUMBER.pack(number), key, db=self._keys)
        transaction.put(key, _STAMP.pack(number, n_bytes), db=self._stamps)
        self._count(transaction, n_bytes)

    def _remove(self, transaction: lmdb.Transaction, key: bytes) -> int:
        """Return what the entry took, 0 where there was none."""
        stamp = transaction.pop(key, db=self._stamps)
        if stamp is None:
            return 0
        number, n_bytes = _STAMP.unpack(stamp)
        transaction.delete(_NUMBER.pack(number), db=self._keys)
        self._count(transaction, -n_bytes)
        return int(n_bytes)

    def _count(self, transaction: lmdb.Transaction, n_bytes: int) -> None:
        transaction.put(_N_BYTES, _NUMBER.pack(self.n_bytes(transaction) + n_bytes), db=self._facts)
