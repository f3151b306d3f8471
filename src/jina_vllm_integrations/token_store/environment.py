"""The files of a shelf: one writer, many readers, the right format, and whole."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import lmdb

from jina_vllm_integrations.errors import (
    StoreDamagedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreInUseError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FACTS = b"facts"
_FORMAT_NAME = b"format"
_FORMAT = b"1"
# Address space only. A reader's must be no smaller than any writer's.
_READER_MAP = 2**40
_MAX_READERS = 1022
# LMDB's table of readers, 64 bytes each after a header of two.
_LOCK_BYTES = 64 * (_MAX_READERS + 2)
# The last pages of a transaction may be freed again before they are ever written.
_UNWRITTEN_PAGES = 64
_DAMAGE = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)


@contextmanager
def locked_for_writing(path: Path, owner: str) -> Iterator[None]:
    """Be the only writer of a folder, which is made if need be. The lock goes when its process does, however it ends.

    Args:
        path: The folder.
        owner: The class that writes, for messages.

    Raises:
        StoreInUseError: Somebody else is.
        StoreFullError: The disk is full.
        StoreError: The folder cannot be made or written.
    """
    with _made(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreInUseError(
                f"{str(path)!r} is open for writing already, here or in another process. Share that {owner} between "
                "threads, close it first, or open this one with readonly=True in a process of its own."
            ) from error
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # for the copy, too, that a fork may have


@contextmanager
def opened_environment(path: Path, max_bytes: int, owner: str, *, readonly: bool) -> Iterator[lmdb.Environment]:
    """Open an LMDB environment.

    Args:
        path: Its folder.
        max_bytes: The largest size of its file.
        owner: The class whose it is, for messages.
        readonly: Only read.

    Raises:
        StoreInUseError: This process has it open.
        StoreDamagedError: It is no LMDB environment, or its file was cut.
        StoreError: There is none to be read, or it cannot be opened.
    """
    file = path / "data.mdb"
    if readonly and not file.is_file():
        raise StoreError(f"there is no store to read in {str(path)!r}. Open it with readonly=False to make one.")
    try:
        env = lmdb.open(
            str(path),
            map_size=_READER_MAP if readonly else max_bytes,
            readonly=readonly,
            max_dbs=4,
            max_readers=_MAX_READERS,
        )
    except lmdb.Error as error:
        if "already open in this process" in str(error):
            raise StoreInUseError(
                f"{str(path)!r} is open in this process already. Share that {owner} between threads."
            ) from error
        raise translated(error, path) from error
    try:
        _lengthen(env, file, path)
        env.reader_check()
        yield env
    finally:
        env.close()


def opened_databases(
    env: lmdb.Environment, names: Sequence[bytes], path: Path, *, readonly: bool
) -> dict[bytes, lmdb._Database]:
    """Open the databases of a store, and make those of a new one, all at once.

    Args:
        env: Where they are.
        names: Of the databases, beside that of single facts.
        path: For messages.
        readonly: Make none.

    Returns:
        The databases by name, with ``b"facts"``.

    Raises:
        StoreFormatError: The environment is another program's, or a newer version's.
        StoreError: There are none to be read.
    """
    if not env.stat()["entries"]:
        if readonly:
            raise StoreError(f"{str(path)!r} is empty yet. Open it once with readonly=False.")
        with env.begin(write=True) as transaction:
            for name in names:
                env.open_db(name, txn=transaction)
            transaction.put(_FORMAT_NAME, _FORMAT, db=env.open_db(_FACTS, txn=transaction))
    try:
        databases = {name: env.open_db(name, create=False) for name in (_FACTS, *names)}
    except lmdb.Error as error:
        raise StoreFormatError(
            f"{str(path)!r} is the LMDB environment of another program, or of another class of this "
            f"package's ({error}). Choose another folder."
        ) from error
    with env.begin() as transaction:
        stored = transaction.get(_FORMAT_NAME, db=databases[_FACTS])
    if stored != _FORMAT:
        raise StoreFormatError(
            f"a store must be of format {_FORMAT!r}, {str(path)!r} is of {stored!r}. Upgrade jina-vllm-integrations to "
            "the version that wrote it, or delete it: it holds nothing that cannot be computed again."
        )
    return databases


def translated(error: lmdb.Error, path: Path, *, n_bytes: int = 0) -> StoreError:
    """Return what an error of LMDB means.

    Args:
        error: The error.
        path: The store.
        n_bytes: What was to be written.
    """
    if isinstance(error, _DAMAGE):
        return _damaged(path, error)
    if isinstance(error, lmdb.DiskError) or (n_bytes and shutil.disk_usage(path).free < n_bytes):
        return _full(path)
    if isinstance(error, lmdb.MemoryError):
        return StoreError(f"{str(path)!r} needs address space: {error}. Raise the limit of it (ulimit -v).")
    return StoreError(
        f"{str(path)!r} cannot be used: {error}. What was kept is kept. Look at the folder's permissions, which must "
        "let readers write lock.mdb, and at the disk."
    )


def _made(path: Path) -> BinaryIO:
    """Make the folder, and return the file that its writer locks."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        # LMDB writes to it through memory, where a full disk kills the process.
        with (path / "lock.mdb").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, _LOCK_BYTES)
        return (path / "writer.lock").open("wb")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(path) from error
        raise StoreError(
            f"{str(path)!r} cannot be a store: {error.strerror}. Choose a folder that can be made and written."
        ) from error


def _lengthen(env: lmdb.Environment, file: Path, path: Path) -> None:
    """Refuse a file that was cut; where only unwritten pages may be missing, let reading them find nothing."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    missing = needed - file.stat().st_size
    if missing > _UNWRITTEN_PAGES * env.stat()["psize"]:
        raise _damaged(path, f"{missing:,} bytes are missing at its end")
    if missing > 0:
        try:
            os.truncate(file, needed)
        except OSError as error:
            raise _damaged(path, f"{missing:,} bytes are missing at its end, and {error.strerror}") from error


def _full(path: Path) -> StoreFullError:
    return StoreFullError(
        f"the disk of {str(path)!r} is full. Free space, or open the store with a smaller max_bytes; what was kept "
        "before is kept."
    )


def _damaged(path: Path, reason: object) -> StoreDamagedError:
    return StoreDamagedError(
        f"{str(path)!r} is no whole store: {reason}. Delete it: it holds nothing that cannot be computed again."
    )
