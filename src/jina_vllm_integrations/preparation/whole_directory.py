"""A directory that appears whole or not at all, made by one run at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """Wait until no other run makes a directory, and keep others waiting meanwhile.

    Args:
        directory: The one to make. Its parent exists; a hidden file beside it is the lock.
    """
    lock = directory.with_name(f".{directory.name}.lock")
    while True:
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, so no dead run holds it
            if os.fstat(file.fileno()).st_nlink == 0:
                continue  # the run before has removed it, and the next may lock another
            try:
                yield
            finally:
                lock.unlink()
            return


@contextmanager
def whole_directory(directory: Path) -> Iterator[Path]:
    """Make a directory in place of which nothing is seen until the block ends without an error.

    Args:
        directory: The one to make. Only one run may make it at a time, see `only_run`.

    Yields:
        An empty directory beside it, which takes its name on the disk.
    """
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    if unfinished.exists():  # a dead run's
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    try:
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            _sync(path)
        unfinished.rename(directory)
        _sync(directory.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
