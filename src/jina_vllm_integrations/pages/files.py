"""A file that may have pages, and what it begins with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from jina_vllm_integrations.errors import OptionError, PageError, PageNotFoundError
from jina_vllm_integrations.images.formats import LONGEST_SIGNATURE, recognised

if TYPE_CHECKING:
    from collections.abc import Iterator

PagePaths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A file, a folder, or several of them."""

PDF_SUFFIX = ".pdf"
_PDF_SIGNATURE = b"%PDF-"


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """A file that should have pages.

    Attributes:
        path: As it was named or found.
        folder: Where it was found; ``None`` for a file that the caller named.
    """

    path: Path
    folder: Path | None = None

    def check(self) -> None:
        """Refuse what must not be read.

        Raises:
            PageError: A link out of the folder, or a path that documents cannot keep as text.
        """
        real = os.path.realpath(self.path)
        if self.folder is not None and not Path(real).is_relative_to(os.path.realpath(self.folder)):
            raise PageError(
                f"what is found in a folder must be inside it once links are followed; {str(self.path)!r} leads to "
                f"{real!r}. Name the file itself if it may be read, or remove the link."
            )
        try:
            str(self.path.absolute()).encode()
        except UnicodeEncodeError as error:
            raise PageError(
                f"a page's path must be Unicode, because documents keep it as text; {str(self.path)!r} is not. "
                "Rename the file."
            ) from error

    def is_pdf(self) -> bool:
        """Return whether it is a PDF by its name or its first bytes.

        Raises:
            PageNotFoundError: It cannot be opened, or is no file.
        """
        with opened(self.path) as file, readable(self.path):
            return self.path.suffix.lower() == PDF_SUFFIX or file.read(len(_PDF_SIGNATURE)) == _PDF_SIGNATURE


def listed(paths: PagePaths) -> tuple[Path, ...]:
    """Return one path or several as several. Looks at no file.

    Raises:
        OptionError: One is no path.
    """
    if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable):
        paths = (paths,)
    return tuple(_path(path) for path in paths)


def begins_like_pages(path: Path) -> bool:
    """Return whether a file begins like a PDF or picture; not if it cannot be opened."""
    try:
        with opened(path) as file, readable(path):
            start = file.read(LONGEST_SIGNATURE)
    except PageNotFoundError:
        return False
    return start.startswith(_PDF_SIGNATURE) or recognised(start) is not None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        PageNotFoundError: It cannot be opened, or is no file.
    """
    with readable(path):
        # Before it is opened: opening a FIFO would wait for somebody to write.
        if not path.is_file():
            raise PageNotFoundError(f"pages are read from files; {str(path)!r} is none. Leave it out.")
        file = path.open("rb")
    with file:
        yield file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Let an error of the file system that is raised within say which file cannot be read.

    Raises:
        PageNotFoundError: In its place.
    """
    try:
        yield
    except OSError as error:
        raise PageNotFoundError(
            f"a file with pages must be readable; {str(path)!r} cannot be opened ({error.strerror or error}). "
            "Correct the path, or the file's permissions."
        ) from error


def _path(path: str | os.PathLike[str]) -> Path:
    if path == "" or not isinstance(path, str | os.PathLike):
        raise OptionError(
            f"a path is a str or path object that names a file or folder, got {path!r:.60}. For the working folder "
            "pass '.'."
        )
    return Path(path)
