"""Bytes by key, on disk in LMDB: checked when they are read, and the least recently used give way to new ones.

Many processes read, one writes. What `put_many` returned for is on disk, also if the process is killed the moment
after: LMDB writes a transaction's pages beside the old ones and then one page that makes them valid.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import lmdb
import xxhash

from jina_vllm_integrations.errors import StoreClosedError, StoreError, StoreFullError, StoreInUseError
from jina_vllm_integrations.token_store.environment import (
    locked_for_writing,
    opened_databases,
    opened_environment,
    translated,
)
from jina_vllm_integrations.token_store.recency import Recency

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

Entry: TypeAlias = tuple[bytes, bytes]
"""A key and what is kept under it."""

_ENTRIES = b"entries"
_CHECKSUM = struct.Struct("<Q")
# Pages that an eviction frees can be written again two transactions later, and a long entry needs neighbouring ones: so
# entries may take this share of the file, and one transaction writes that much of it.
_FULL = 0.75
_LOT = 1 / 16
_ATTEMPTS = 12


class Shelf:
    """Bytes by key in a folder. May be used by many threads at once.

    Args:
        path: The folder; made for a writer if need be.
        max_bytes: The largest size of the file.
        readonly: Open beside any number of other readers and one writer.

    Raises:
        StoreInUseError: Another writer has it open, or this process has.
        StoreFormatError: A newer version of this package wrote it, or another program.
        StoreDamagedError: It is no store, or not a whole one.
        StoreFullError: The disk is full.
        StoreError: There is none to be read, or the folder cannot be used.
    """

    def __init__(self, path: Path, *, max_bytes: int, readonly: bool) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._readonly = readonly
        self._closed = False
        self._process = os.getpid()
        # A reader's views of the file end before it is closed; LMDB itself lets many read and one write.
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._read: dict[bytes, None] = {}
        self._damaged: set[bytes] = set()
        with ExitStack() as opened:
            if not readonly:
                opened.enter_context(locked_for_writing(path))
            self._env = opened.enter_context(opened_environment(path, max_bytes, readonly=readonly))
            databases = opened_databases(self._env, (_ENTRIES, *Recency.DATABASES), path, readonly=readonly)
            self._entries = databases[_ENTRIES]
            self._recency = Recency(databases)
            self._opened = opened.pop_all()

    def get_many(self, keys: Iterable[bytes]) -> list[bytearray | None]:
        """Return what is kept under each key, all as of one moment. What is damaged is dropped and logged."""
        with self._reading, self._transaction() as transaction:
            return [self._whole(key, transaction.get(key, db=self._entries)) for key in keys]

    def put_many(self, entries: Iterable[Entry]) -> None:
        """Keep entries, several a transaction. When it returns they are on disk.

        Raises:
            StoreError: The shelf is open for reading only.
            StoreFullError: An entry is larger than the limit allows, or the disk is full.
        """
        if self._readonly:
            raise StoreError(f"{str(self._path)!r} is open for reading only. Open it with readonly=False to write.")
        for lot in self._lots(entries):
            with self._writing:
                self._write(lot)

    def __len__(self) -> int:
        with self._reading, self._transaction() as transaction:
            return int(transaction.stat(self._entries)["entries"])

    @property
    def n_bytes(self) -> int:
        """What the entries take on disk."""
        with self._reading, self._transaction() as transaction:
            return self._recency.n_bytes(transaction)

    def close(self) -> None:
        """Remember which entries were read last, and close. Closing twice is closing once."""
        if self._process != os.getpid():
            return  # a fork's copy, of which LMDB and the lock are its parent's
        with self._writing, self._reading:
            if self._closed:
                return
            try:
                if self._read or self._damaged:
                    with self._transaction(write=True) as transaction:
                        self._settle(transaction)
            except (StoreError, lmdb.MapFullError) as error:
                logger.warning("which entries of %s were used last could not be noted: %s", self._path, error)
            finally:
                self._closed = True
                self._opened.close()

    @contextmanager
    def _transaction(self, *, write: bool = False, n_bytes: int = 0) -> Iterator[lmdb.Transaction]:
        """Begin and end a transaction. A full map is for the caller, all other errors are the user's."""
        if self._closed:
            raise StoreClosedError(f"the store {str(self._path)!r} was closed. Open it again.")
        if self._process != os.getpid():
            raise StoreInUseError(
                f"{str(self._path)!r} was opened by the process that this one was forked from. Open it after the fork."
            )
        try:
            with self._env.begin(write=write, buffers=True) as transaction:
                yield transaction
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            raise translated(error, self._path, n_bytes=n_bytes) from error

    def _whole(self, key: bytes, value: Any) -> bytearray | None:
        """Copy an entry out of the file, unless it is not what was written."""
        if value is None:
            return None
        content = bytearray(value[_CHECKSUM.size :])
        if not _is_whole(key, value, content):
            logger.warning("the entry %s of %s is damaged and counts as missing", key.hex(), self._path)
            if not self._readonly:
                self._damaged.add(key)
            return None
        if not self._readonly:
            self._read[key] = None
        return content

    def _lots(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Yield as many entries as one transaction writes."""
        most = int(self._max_bytes * _LOT)
        lot: list[Entry] = []
        n_bytes = 0
        for key, content in entries:
            if len(content) > most:
                raise StoreFullError(
                    f"an entry may take a {round(1 / _LOT)}th of the store's max_bytes={self._max_bytes:,}, this one "
                    f"takes {len(content):,} bytes. Raise max_bytes, or keep the vectors in fewer bytes."
                )
            if n_bytes + len(content) > most:
                yield lot
                lot, n_bytes = [], 0
            lot.append((key, content))
            n_bytes += len(content)
        if lot:
            yield lot

    def _write(self, lot: Sequence[Entry]) -> None:
        n_bytes = sum(len(content) for _, content in lot)
        for attempt in range(_ATTEMPTS):
            with suppress(lmdb.MapFullError):
                if attempt:
                    self._make_room()
                with self._transaction(write=True, n_bytes=n_bytes) as transaction:
                    self._put(transaction, lot, n_bytes)
                return
        raise StoreFullError(
            f"{str(self._path)!r} has no room, although entries were evicted: a reader in another process holds them. "
            "End it, or raise max_bytes."
        )

    def _put(self, transaction: lmdb.Transaction, lot: Sequence[Entry], n_bytes: int) -> None:
        self._settle(transaction)
        self._evict(transaction, int(self._max_bytes * _FULL) - n_bytes)
        for key, content in lot:
            value = _CHECKSUM.pack(_checksum(key, content)) + content
            transaction.put(key, value, db=self._entries)
            self._recency.add(transaction, key, len(value))

    def _make_room(self) -> None:
        """Evict an eighth in two steps: the pages that one transaction frees can be written in the next but one."""
        self._env.reader_check()
        for _ in range(2):
            with self._transaction(write=True) as transaction:
                self._evict(transaction, self._recency.n_bytes(transaction) * 15 // 16)

    def _evict(self, transaction: lmdb.Transaction, n_bytes: int) -> None:
        for key in self._recency.oldest_beyond(transaction, n_bytes):
            transaction.delete(key, db=self._entries)

    def _settle(self, transaction: lmdb.Transaction) -> None:
        """Write down what reading found: which entries were used, and which are damaged."""
        read, self._read = self._read, {}
        damaged, self._damaged = self._damaged, set()
        for key in list(read):
            self._recency.touch(transaction, key)
        for key in list(damaged):
            value = transaction.get(key, db=self._entries)
            if value is not None and not _is_whole(key, value, value[_CHECKSUM.size :]):  # not written again since
                transaction.delete(key, db=self._entries)
                self._recency.forget(transaction, key)


def _is_whole(key: bytes, value: Any, content: bytes | bytearray | memoryview) -> bool:
    return len(value) >= _CHECKSUM.size and _CHECKSUM.unpack_from(value)[0] == _checksum(key, content)


def _checksum(key: bytes, content: bytes | bytearray | memoryview) -> int:
    """Hash an entry together with its key, so that one entry in another's place is found, too."""
    return xxhash.xxh3_64_intdigest(content, seed=xxhash.xxh3_64_intdigest(key))
