"""Bytes by key, on disk in LMDB: checked when they are read, and the least recently used give way to new ones.

Many processes read, one writes. What `put_many` returned for is on disk, also if the process is killed the moment
after: LMDB writes a transaction's pages beside the old ones and then one page that makes them valid.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

import lmdb

from jina_vllm_integrations.errors import StoreClosedError, StoreError, StoreFullError, StoreInUseError
from jina_vllm_integrations.token_store.checksums import N_BYTES, is_whole, with_checksum
from jina_vllm_integrations.token_store.environment import (
    locked_for_writing,
    opened_databases,
    opened_environment,
    translated,
)
from jina_vllm_integrations.token_store.pages import lots, most_changes, most_evictions, n_bytes_in_use, room
from jina_vllm_integrations.token_store.recency import Recency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

Entry: TypeAlias = tuple[bytes, bytes]
"""A key and what is kept under it."""

LONGEST_KEY = 511
"""Bytes of a key, which has at least one."""

# Pages that an eviction frees can be written again two transactions later, and a long entry needs neighbouring ones: so
# entries may take this share of the file.
_FULL = 0.75
_ATTEMPTS = 12
# How many keys are read at once when all are wanted.
_MANY_KEYS = 4096


class Shelf:
    """Bytes by key in a folder. May be used by many threads at once.

    Args:
        path: The folder; made for a writer if need be.
        max_bytes: The largest size of the file.
        readonly: Open beside any number of other readers and one writer.
        owner: The class whose shelf it is, for messages.
        database: Where the entries are in the file. Another owner has another, so that none reads what is not its own.

    Raises:
        StoreInUseError: Another writer has it open, or this process has.
        StoreFormatError: A newer version of this package wrote it, or another program.
        StoreDamagedError: It is no store, or not a whole one.
        StoreFullError: The disk is full.
        StoreError: There is none to be read, or the folder cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        readonly: bool,
        owner: str = "TokenStore",
        database: bytes = b"entries",
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._most_changes = most_changes(max_bytes)
        self._readonly = readonly
        self._closed = False
        self._process = os.getpid()
        # A reader's views of the file end before it is closed; LMDB itself lets many read and one write.
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._read: dict[bytes, None] = {}
        self._damaged: set[bytes] = set()
        with ExitStack() as opened:
            if not readonly:
                opened.enter_context(locked_for_writing(path, owner))
            self._env = opened.enter_context(opened_environment(path, max_bytes, owner, readonly=readonly))
            databases = opened_databases(self._env, (database, *Recency.DATABASES), path, readonly=readonly)
            self._databases = list(databases.values())
            self._entries = databases[database]
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
        self._check_writable()
        for _ in range(len(self._read) // self._most_changes):
            self._write(self._settle)
        for lot in lots(entries, self._max_bytes):
            n_bytes = sum(room(key, len(content)) for key, content in lot)
            self._write(partial(self._put, lot=lot, n_bytes=n_bytes), n_bytes=n_bytes)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Delete what is kept under each key. Keys of nothing are passed over.

        Raises:
            StoreError: The shelf is open for reading only.
        """
        self._check_writable()
        left = iter(keys)
        while some := list(islice(left, self._most_changes)):
            self._write(partial(self._delete, keys=some))

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        """Yield the keys that begin with a prefix, in order. What changes meanwhile may be seen or not."""
        after = b""
        while some := self._some_keys(prefix, after):
            yield from some
            after = some[-1]

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
                while self._read or self._damaged:
                    with self._transaction(write=True) as transaction:
                        self._settle(transaction)
            except (StoreError, lmdb.MapFullError) as error:
                logger.warning("which entries of %s were used last could not be noted: %s", self._path, error)
            finally:
                self._closed = True
                self._opened.close()

    def _check_writable(self) -> None:
        if self._readonly:
            raise StoreError(f"{str(self._path)!r} is open for reading only. Open it with readonly=False to write.")

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
        content = bytearray(value[N_BYTES:])
        if not is_whole(key, value, content):
            logger.warning("the entry %s of %s is damaged and counts as missing", key.hex(), self._path)
            if not self._readonly:
                self._damaged.add(key)
            return None
        if not self._readonly:
            self._read[key] = None
        return content

    def _some_keys(self, prefix: bytes, after: bytes) -> list[bytes]:
        with self._reading, self._transaction() as transaction, transaction.cursor(db=self._entries) as cursor:
            if not cursor.set_range(after or prefix):
                return []
            found = (bytes(key) for key in cursor.iternext(values=False))
            new = (key for key in found if key != after)
            return list(islice(takewhile(lambda key: key.startswith(prefix), new), _MANY_KEYS))

    def _write(self, change: Callable[[lmdb.Transaction], bool], *, n_bytes: int = 0) -> None:
        """Make a change, again and again until it says that it is done."""
        with self._writing:
            for attempt in range(_ATTEMPTS):
                with suppress(lmdb.MapFullError):
                    if attempt:
                        self._make_room()
                    done = False
                    while not done:
                        with self._transaction(write=True, n_bytes=n_bytes) as transaction:
                            done = change(transaction)
                    return
        raise StoreFullError(
            f"{str(self._path)!r} has no room, although entries were evicted: a reader in another process holds them. "
            "End it, or raise max_bytes."
        )

    def _put(self, transaction: lmdb.Transaction, lot: Sequence[Entry], n_bytes: int) -> bool:
        self._settle(transaction)
        limit = int(self._max_bytes * _FULL)
        if not self._evict(transaction, limit - n_bytes):
            return False
        # Of pages that entries share, less may be used than was counted.
        if n_bytes_in_use(transaction, self._databases) > limit:
            self._evict(transaction, self._recency.n_bytes(transaction) - 2 * n_bytes)
        for key, content in lot:
            value = with_checksum(key, content)
            transaction.put(key, value, db=self._entries)
            self._recency.add(transaction, key, len(value))
        return True

    def _delete(self, transaction: lmdb.Transaction, keys: Sequence[bytes]) -> bool:
        for key in keys:
            transaction.delete(key, db=self._entries)
            self._recency.forget(transaction, key)
        return True

    def _make_room(self) -> None:
        """Evict an eighth in two steps: the pages that one transaction frees can be written in the next but one."""
        self._env.reader_check()
        for _ in range(2):
            with self._transaction(write=True) as transaction:
                self._evict(transaction, self._recency.n_bytes(transaction) * 15 // 16)

    def _evict(self, transaction: lmdb.Transaction, n_bytes: int) -> bool:
        """Evict what is beyond a limit, as far as one transaction may, and return whether that was all."""
        most = most_evictions(transaction, self._databases, self._max_bytes)
        for key in islice(self._recency.oldest_beyond(transaction, n_bytes), most):
            transaction.delete(key, db=self._entries)
        return self._recency.n_bytes(transaction) <= n_bytes

    def _settle(self, transaction: lmdb.Transaction) -> bool:
        """Write down what reading found: some of the entries that were used, and all that are damaged."""
        for key in list(islice(self._read, self._most_changes)):
            del self._read[key]
            self._recency.touch(transaction, key)
        damaged, self._damaged = self._damaged, set()
        for key in list(damaged):
            value = transaction.get(key, db=self._entries)
            if value is not None and not is_whole(key, value, value[N_BYTES:]):  # not written again since
                transaction.delete(key, db=self._entries)
                self._recency.forget(transaction, key)
        return True
