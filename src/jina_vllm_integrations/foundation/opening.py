"""Files are opened so that nobody who can change them can have another one read, or let the reader wait.

What a path leads to is known only while it is followed: whoever checks it and opens it afterwards may open something
else. So it is followed once, to a descriptor that opens nothing yet (``O_PATH``). What that is of, and where it lies,
the kernel says; and what is opened for reading is what that is of. A FIFO, which would wait for a writer, and a device,
whose opening may do anything, are never opened. This needs ``/proc``, but neither ``openat2``, which sandboxes forbid,
nor a walk from folder to folder.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DESCRIPTORS = "/proc/self/fd"
_TRIES = 8


class OutsideError(PermissionError):
    """A path leads out of the folder that its file must be in."""


@dataclass(frozen=True, kw_only=True)
class Beneath:
    """A file that is read only while it is inside a folder, once links are followed.

    It may be opened often, much later and in another process: each opening finds out anew.

    Attributes:
        path: The file, absolute.
        root: The folder, absolute and without links.
    """

    path: Path
    root: Path

    @classmethod
    def one_of(cls, roots: Iterable[str | Path], path: str | Path) -> Self | None:
        """Follow a path's links, as they are now.

        Args:
            roots: The folders, whose links are followed as well.
            path: The file, whether or not there is one.

        Returns:
            Where the path leads; ``None`` if that is in none of the folders, or changes all the while.

        Raises:
            ValueError: The path has a null character.
        """
        return cls.one_of_real(list(map(os.path.realpath, roots)), path)

    @classmethod
    def one_of_real(cls, roots: Iterable[str], path: str | Path) -> Self | None:
        """Do as `one_of` with folders whose links were followed."""
        real = _followed(path)
        if real is None:
            return None
        root = next((root for root in roots if is_inside(real, root)), None)
        return None if root is None else cls(path=Path(real), root=Path(root))

    def __str__(self) -> str:
        return str(self.path)


FileSource: TypeAlias = "str | os.PathLike[str] | Beneath"
"""A file that may be anywhere, or one that must be inside a folder."""


def is_inside(path: str, folder: str) -> bool:
    """Return whether a path lies in a folder or is it; both absolute, without links. Fifty are asked for a search."""
    return path == folder or path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


def _followed(path: str | Path) -> str | None:
    for _ in range(_TRIES):
        with suppress(OSError):  # a link that was replaced by a file while it was looked at
            return os.path.realpath(path)
    return None


def open_file(source: FileSource) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OutsideError: It is not inside its folder.
        OSError: It cannot be opened, or is no regular file.
        ValueError: The path has a null character.
    """
    path = os.fspath(source.path if isinstance(source, Beneath) else source)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if isinstance(source, Beneath):
            _check_inside(source, place)
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        return io.BufferedReader(io.FileIO(path, opener=lambda *_: _reopened(path, place)))
    finally:
        os.close(place)


def _check_inside(file: Beneath, place: int) -> None:
    with _naming(str(file.path)):
        found = Path(f"{_DESCRIPTORS}/{place}").readlink()
    if not found.is_relative_to(file.root):
        raise OutsideError(errno.EACCES, f"it leads out of {str(file.root)!r}", str(file.path))


def _reopened(path: str, place: int) -> int:
    with _naming(path):
        return os.open(f"{_DESCRIPTORS}/{place}", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Let an error about a descriptor name the path that it was opened by."""
    try:
        yield
    except FileNotFoundError as error:  # a descriptor is there, even where its file is gone
        raise OSError(errno.ENOSYS, "/proc must be mounted", path) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
