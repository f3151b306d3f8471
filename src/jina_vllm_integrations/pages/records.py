"""What is known of a page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.images import PageSource


@dataclass(frozen=True, kw_only=True)
class PageImage:
    """What a page looks like, as an image that can be embedded.

    Attributes:
        source: The picture's path, absolute, or the page itself, which is drawn when it is needed.
        uri: What documents call it: a path, or `PageSource.uri`.
        sha256: In hexadecimal, of the picture's bytes; or of what decides how the page is drawn: its file's bytes, its
            number, resolution and limits.
        size: Width and height in pixels as a viewer shows them.
    """

    source: Path | PageSource
    uri: str
    sha256: str
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a file.

    Attributes:
        source: The file, as it was named or found.
        number: The page's position, from 0.
        n_pages: How many pages the file has.
        image: What it looks like.
        dpi: Pixels an inch; ``None`` where the file does not say.
        text: The text layer, without blank lines; empty for none.
        label: The number that is printed on it, such as ``"iv"``, if the file says; otherwise empty.
    """

    source: Path
    number: int
    n_pages: int
    image: PageImage
    dpi: float | None = None
    text: str = ""
    label: str = ""

    def excerpt(self, max_characters: int, *, name: str | None = None) -> str:
        """Return how the text begins, to the end of a word; or, where there is none, which page it is.

        Args:
            max_characters: Of the text.
            name: What to call the file, where its own name is not enough.
        """
        if not self.text:
            return f"[page {self.number + 1} of {name or self.source.name}]"
        if len(self.text) <= max_characters:
            return self.text
        beginning = self.text[: max_characters + 1]
        end = max(beginning.rfind(" "), beginning.rfind("\n"))
        return beginning[: end if end > 0 else max_characters]


@dataclass(frozen=True, kw_only=True)
class SkippedPage:
    """What could not be read, and was left out because that was chosen.

    Attributes:
        source: The file.
        number: The page's position, from 0; ``None`` for all pages of the file.
        error: Why. It says so itself, too.
    """

    source: Path
    number: int | None
    error: InputError


class SkippedPages(list[SkippedPage]):
    """What a reading left out.

    Attributes:
        other_files: How many files of folders were not read, because they are neither PDFs nor pictures; by suffix in
            lower case, ``""`` for none. Hidden files, and images of drawn pages, do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.other_files: Counter[str] = Counter()
