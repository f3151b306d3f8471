"""What a command line names: texts, text files, image files, PDFs and folders of them."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

from jina_vllm_integrations.errors import InputError, OptionError
from jina_vllm_integrations.foundation.opening import open_file
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.documents.files import PDF_SUFFIX
from jina_vllm_integrations.images.formats import IMAGE_SUFFIXES
from jina_vllm_integrations.pages import PageReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_vllm_integrations.types import Item

Kind: TypeAlias = Literal["text", "image"]

TEXT_SUFFIXES = frozenset({".md", ".rst", ".text", ".txt"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One item and where it comes from. A file is read, and a page drawn, when its turn comes, not before.

    Attributes:
        name: Path of the file, with ``:line`` for a line of it or ``#page=3`` for a page, or the text itself.
        kind: What it is.
        content: The text, the page, or the file that holds the text or image; or why there is none.
    """

    name: str
    kind: Kind
    content: str | Path | PageSource | InputError

    def read(self) -> Item:
        """Return the item.

        Raises:
            InputError: A text file is not UTF-8, or a PDF or TIFF cannot be opened.
        """
        if isinstance(self.content, InputError):
            raise self.content
        if self.kind == "image" or not isinstance(self.content, Path):
            return self.content
        with _opened(self.content) as file:
            return file.read()


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All items that a command line names. Each iteration searches and reads anew, in the memory of one item.

    Attributes:
        texts: Literal texts.
        paths: Text files, image files, PDFs, and folders, which are searched to any depth in the order of names. Each
            page of a PDF, and of a TIFF that has several, is an item.
        lines: Make each line of a text file that is not blank an item of its own.
        reader: Which pages are taken of a document, and how they are drawn.
        without_pages: The documents that have none of these, as found by the latest iteration so far.

    Raises:
        OptionError: A path does not exist, or names a file of another kind.
    """

    texts: Sequence[str] = ()
    paths: Sequence[Path] = ()
    lines: bool = False
    reader: PageReader = field(default_factory=PageReader)
    without_pages: list[Path] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for path in self.paths:
            if not path.is_dir():
                _check_file(path)

    def __iter__(self) -> Iterator[Source]:
        """Yield the sources in the order given, texts first.

        A text file that is read by lines and is not UTF-8 is a source that cannot be read, after its lines before; so
        is a document that cannot be opened.
        """
        self.without_pages.clear()
        for text in self.texts:
            yield Source(name=text, kind="text", content=text)
        for path, kind in self._files():
            if kind == "text" and self.lines:
                yield from _lines(path)
            elif kind == "image":
                yield from self._images(path)
            elif kind is not None:
                yield Source(name=_name(path), kind=kind, content=path)

    def left_out(self) -> Iterator[Path]:
        """Yield what was found in the folders and is no source: hidden, or neither text, image nor PDF."""
        return (path for path, kind in self._files() if kind is None)

    def _images(self, path: Path) -> Iterator[Source]:
        name, image = _name(path), None
        try:
            for image in self.reader.images(path):
                page = f"#{image.fragment}" if isinstance(image, PageSource) else ""
                yield Source(name=name + page, kind="image", content=image)
        except InputError as error:
            yield Source(name=name, kind="image", content=error)
        else:
            if image is None:
                self.without_pages.append(path)

    def _files(self) -> Iterator[tuple[Path, Kind | None]]:
        for path in self.paths:
            if path.is_dir():
                yield from _found_in(path)
            else:
                yield path, _kind(path)


def _found_in(folder: Path) -> Iterator[tuple[Path, Kind | None]]:
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names take a tenth of the memory of paths
        path = folder / name
        if name.startswith("."):
            yield path, None
        elif path.is_dir() and not path.is_symlink():  # a link may lead back up
            yield from _found_in(path)
        else:
            yield path, _kind(path) if path.is_file() else None


def _lines(path: Path) -> Iterator[Source]:
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield Source(name=f"{_name(path)}:{number}", kind="text", content=line.removesuffix("\n"))
    except InputError:
        yield Source(name=_name(path), kind="text", content=path)  # whose reading says the same


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise OptionError(f"{str(path)!r} is neither a file nor a folder. For a text, write --text {str(path)!r}.")
    if _kind(path) is None:
        suffixes = " ".join(sorted(TEXT_SUFFIXES | IMAGE_SUFFIXES | {PDF_SUFFIX}))
        raise OptionError(f"a file must end in one of {suffixes}, got {str(path)!r}. Convert or rename it.")


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix == PDF_SUFFIX:
        return "image"
    return "text" if suffix in TEXT_SUFFIXES else None


def _name(path: Path) -> str:
    """Return a path as text that can be written as UTF-8; a file's name may be any bytes."""
    return str(path).encode(errors="backslashreplace").decode()


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a text file. A byte order mark, which some editors put first, is no part of the text."""
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(f"a text file must be UTF-8, {str(path)!r} is not: {error}. Convert it.") from error
