"""A file that may have pages, and what it begins with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from jina_vllm_integrations.errors import OptionError, PageError, PageNotFoundError
from jina_vllm_integrations.foundation.opening import Beneath, OutsideError, open_file
from jina_vllm_integrations.images.documents.files import PDF_SIGNATURE, link_out
from jina_vllm_integrations.images.formats import LONGEST_SIGNATURE, recognised

if TYPE_CHECKING:
    from collections.abc import Iterator

PagePaths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A file, a folder, or several of them."""


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """A file that should have pages.

    Attributes:
        path: As it was named or found.
        folder: Where it was found; ``None`` for a file that the caller named.
    """

    path: Path
    folder: Path | None = None

    @property
    def source(self) -> Path | Beneath:
        """What is opened: what was found must be inside its folder.

        Raises:
            PageError: A link out of the folder, or a path that documents cannot keep as text.
        """
        _check_text(self.path)
        if self.folder is None:
            return self.path.absolute()
        source = Beneath.one_of([self.folder], self.path)
        if source is None:
            raise link_out(self.path)
        return source

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it for reading.

        Raises:
            PageError: As for `source`.
            PageNotFoundError: It cannot be opened, or is no file.
        """
        try:
            with readable(self.path):
                content = open_file(self.source)
        except OutsideError as error:
            raise link_out(self.path) from error
        with content:
            yield content


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
        with PageFile(path=path).opened() as file, readable(path):
            start = file.read(LONGEST_SIGNATURE)
    except PageError:
        return False
    return start.startswith(PDF_SIGNATURE) or recognised(start) is not None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Let an error of the file system that is raised within say which file cannot be read.

    Raises:
        PageNotFoundError: In its place.
    """
    try:
        yield
    except OutsideError:
        raise
    except OSError as error:
        raise PageNotFoundError(
            f"a file with pages must be readable; {str(path)!r} cannot be opened ({error.strerror or error}). "
            "Correct the path, or the file's permissions."
        ) from error


def _check_text(path: Path) -> None:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise PageError(
            f"a page's path must be Unicode, because documents keep it as text; {str(path)!r} is not. Rename the file."
        ) from error


def _path(path: str | os.PathLike[str]) -> Path:
    if path == "" or not isinstance(path, str | os.PathLike):
        raise OptionError(
            f"a path is a str or path object that names a file or folder, got {path!r:.60}. For the working folder "
            "pass '.'."
        )
    return Path(path)
