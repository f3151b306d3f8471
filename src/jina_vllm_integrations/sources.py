"""What a command line names: texts, text files, image files and folders of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jina_vllm_integrations.errors import InputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jina_vllm_integrations.types import Item

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TEXT_SUFFIXES = frozenset({".md", ".rst", ".text", ".txt"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One item and where it comes from. A file is read when its turn comes, not before.

    Attributes:
        name: Path of the file, with ``:line`` for a line of it, or the text itself.
        kind: What it is.
        text: The text, where it is known already.
    """

    name: str
    kind: Literal["text", "image"]
    text: str | None = None

    def read(self) -> Item:
        """Return the item.

        Raises:
            InputError: A text file is not UTF-8.
        """
        if self.kind == "image":
            return Path(self.name)
        return _read_text(Path(self.name)) if self.text is None else self.text


def collect(texts: Iterable[str], paths: Iterable[Path], *, lines: bool = False) -> tuple[list[Source], list[Path]]:
    """List the items that a command line names.

    Args:
        texts: Literal texts.
        paths: Text files, image files, and folders, which are searched to any depth in the order of names.
        lines: Make each line of a text file that is not blank an item of its own.

    Returns:
        The sources in the order given, and the files in folders that are neither text nor image.

    Raises:
        OptionError: A path does not exist, or names a file of another kind.
        InputError: A text file is not UTF-8.
    """
    sources = [Source(name=text, kind="text", text=text) for text in texts]
    skipped: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file()]
            skipped += [file for file in files if _kind(file) is None]
            for file in files:
                sources += _sources_of(file, lines=lines)
        elif not path.is_file():
            raise OptionError(f"{str(path)!r} is neither a file nor a folder. For a text, write --text {str(path)!r}.")
        elif _kind(path) is None:
            suffixes = " ".join(sorted(TEXT_SUFFIXES | IMAGE_SUFFIXES))
            raise OptionError(f"{str(path)!r} is of no known kind: the suffix must be one of {suffixes}. Rename it.")
        else:
            sources += _sources_of(path, lines=lines)
    return sources, skipped


def _sources_of(file: Path, *, lines: bool) -> Iterator[Source]:
    kind = _kind(file)
    if kind is None:
        return
    if kind == "image" or not lines:
        yield Source(name=str(file), kind=kind)
        return
    for number, line in enumerate(_read_text(file).splitlines(), start=1):
        if line.strip():
            yield Source(name=f"{file}:{number}", kind="text", text=line)


def _kind(file: Path) -> Literal["text", "image"] | None:
    suffix = file.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "text" if suffix in TEXT_SUFFIXES else None


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"a text file must be UTF-8, {str(file)!r} is not: {error}. Convert it.") from error
