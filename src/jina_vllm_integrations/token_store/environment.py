"""The files of a shelf: one writer, many readers, the right format, and whole."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lmdb

from jina_vllm_integrations.errors import StoreDamagedError, StoreError, StoreFormatError, StoreInUseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FORMAT_NAME = b"format"
_FORMAT = b"1"
# Address space only. A reader's must be no smaller than any writer's.
_READER_MAP = 2**40
_MAX_READERS = 1024
# The last pages of a transaction may be freed again before they are ever written.
_UNWRITTEN_PAGES = 64


@contextmanager
def locked_for_writing(path: Path) -> Iterator[None]:
    """Be the only writer of a folder, which is made if need be. The lock goes when its process does, however it ends.

    Raises:
        StoreInUseError: Somebody else is.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / "writer.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreInUseError(
                f"{str(path)!r} is open for writing already, here or in another process. Share that TokenStore between "
                "threads, close it first, or open this one with readonly=True in a process of its own."
            ) from error
        yield


@contextmanager
def opened_environment(path: Path, max_bytes: int, *, readonly: bool) -> Iterator[lmdb.Environment]:
    """Open an LMDB environment.

    Raises:
        StoreError: There is none to be read.
        StoreInUseError: This process has it open.
        StoreDamagedError: It is no LMDB environment, or its file was cut.
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
                f"{str(path)!r} is open in this process already. Share that TokenStore between threads."
            ) from error
        raise _damaged(path, error) from error
    try:
        missing = (env.info()["last_pgno"] + 1 - _UNWRITTEN_PAGES) * env.stat()["psize"] - file.stat().st_size
        if missing > 0:
            raise _damaged(path, f"at least {missing:,} bytes are missing at its end")
        env.reader_check()
        yield env
    finally:
        env.close()


def _damaged(path: Path, reason: object) -> StoreDamagedError:
    return StoreDamagedError(
        f"{str(path)!r} is no whole store: {reason}. Delete it: it holds nothing that cannot be computed again."
    )


def check_format(env: lmdb.Environment, facts: lmdb._Database, path: Path, *, readonly: bool) -> None:
    """Write the format into a new store, and check that of an older one.

    Raises:
        StoreFormatError: It is another.
    """
    with env.begin(write=not readonly) as transaction:
        stored = transaction.get(_FORMAT_NAME, db=facts)
        if stored is None and not readonly:
            transaction.put(_FORMAT_NAME, _FORMAT, db=facts)
        elif stored != _FORMAT:
            raise StoreFormatError(
                f"a store must be of format {_FORMAT!r}, {str(path)!r} is of {bytes(stored or b'none')!r}. "
                "Upgrade jina-vllm-integrations to the version that wrote it, or delete it: it holds nothing that "
                "cannot be computed again."
            )
