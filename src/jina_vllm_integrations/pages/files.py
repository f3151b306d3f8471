"""Which files have pages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from jina_vllm_integrations.errors import OptionError, PageError, PageNotFoundError
from jina_vllm_integrations.foundation.opening import Beneath, OutsideError, open_file
from jina_vllm_integrations.images.decoding import IMAGE_SUFFIXES
from jina_vllm_integrations.images.documents.files import PDF_SUFFIX, link_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_vllm_integrations.pages.image_folder import ImageFolder

PagePaths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A file, a folder, or several of them."""

_SUFFIXES = IMAGE_SUFFIXES | {PDF_SUFFIX}


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


def page_files(paths: Iterable[Path], *, glob: str, images: ImageFolder | None) -> Iterator[PageFile]:
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


def _found_in(folder: Path, glob: str, images: ImageFolder | None) -> list[PageFile]:
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


def _counts(path: Path, folder: Path, images: ImageFolder | None) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in _SUFFIXES and not hidden and not path.is_dir() and not (images and images.holds(path))
