"""Which files have pages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from jina_vllm_integrations.errors import OptionError, PageError, PageNotFoundError
from jina_vllm_integrations.images.formats import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_vllm_integrations.pages.image_folder import ImageFolder

PagePaths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A file, a folder, or several of them."""

_PDF_SUFFIX = ".pdf"
_SUFFIXES = IMAGE_SUFFIXES | {_PDF_SUFFIX}
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
        with opened(self.path) as file:
            return self.path.suffix.lower() == _PDF_SUFFIX or file.read(len(_PDF_SIGNATURE)) == _PDF_SIGNATURE


def listed(paths: PagePaths) -> tuple[Path, ...]:
    """Return one path or several as several. Looks at no file.

    Raises:
        OptionError: One is no path.
    """
    if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable):
        paths = (paths,)
    return tuple(_path(path) for path in paths)


def page_files(paths: Iterable[Path], *, glob: str, images: ImageFolder) -> Iterator[PageFile]:
    """Yield files in the order of their paths, those of each folder sorted.

    In folders, only files with the suffix of a PDF or picture count, none that is hidden, and none that was rendered.

    Raises:
        OptionError: ``glob`` is no pattern.
        PageNotFoundError: There is no such path, or no such file in a folder.
    """
    for path in paths:
        with readable(path):
            is_folder, is_file = path.is_dir(), path.is_file()
        if is_folder:
            yield from _found_in(path, glob, images)
        elif is_file:
            yield PageFile(path=path)
        else:
            raise PageNotFoundError(
                f"a path must name a file or folder, {str(path)!r} names none. Correct it, or put the file there."
            )


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


def _found_in(folder: Path, glob: str, images: ImageFolder) -> list[PageFile]:
    try:
        with readable(folder), os.scandir(folder):  # because glob finds nothing in a folder that cannot be read
            matches = sorted(folder.glob(glob))
    except (ValueError, NotImplementedError) as error:
        raise OptionError(
            f"glob must be a pattern relative to the folder, such as '**/*.pdf', got {glob!r} ({error})."
        ) from error
    found = [PageFile(path=path, folder=folder) for path in matches if _counts(path, folder, images)]
    if not found:
        raise PageNotFoundError(
            f"a folder must have files with pages ({' '.join(sorted(_SUFFIXES))}); {str(folder)!r} has none that match "
            f"glob={glob!r}. Correct the folder or the pattern."
        )
    return found


def _counts(path: Path, folder: Path, images: ImageFolder) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in _SUFFIXES and not hidden and not path.is_dir() and not images.holds(path)
