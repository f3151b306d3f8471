"""The pages of a document, as images that are drawn when they are needed, or are files at once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.threads import in_threads
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.documents import DrawnPage
from jina_vllm_integrations.images.documents.jobs import Draw, Encode
from jina_vllm_integrations.pages.records import Page, PageImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jina_vllm_integrations.images import ImageLimits
    from jina_vllm_integrations.images.documents import DocumentFile, PageFacts
    from jina_vllm_integrations.pages.image_folder import ImageFolder

logger = logging.getLogger(__name__)

# So many pages are looked at by one job, which takes some milliseconds for each.
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Document:
    """A PDF, or a TIFF with several pages.

    Attributes:
        file: The file.
        path: As it was named or found.
        n_pages: How many it has.
        numbers: Which of them are read, from 0.
        dpi: At which PDFs are drawn.
        limits: What a page may cost.
        images: Where the pages' images are written; ``None`` to draw them when they are needed.
        missing_fonts: Those that were logged.
    """

    file: DocumentFile
    path: Path
    n_pages: int
    numbers: Sequence[int]
    dpi: float
    limits: ImageLimits
    images: ImageFolder | None
    missing_fonts: set[str] = field(default_factory=set)

    def read(self) -> Iterator[tuple[int, Page | InputError]]:
        """Yield the number of each page that is read, and the page or why there is none. The next are read meanwhile.

        Raises:
            PageError: The file is not what it was.
        """
        lots = [self.numbers[start : start + _AT_ONCE] for start in range(0, len(self.numbers), _AT_ONCE)]
        for numbers, known in zip(lots, in_threads(self._looked_at, lots, len(lots)), strict=True):
            for number, (facts, content) in zip(numbers, known, strict=True):
                yield number, facts if isinstance(facts, InputError) else self._page(number, facts, content)

    def _looked_at(self, numbers: Sequence[int]) -> list[tuple[PageFacts | InputError, bytes]]:
        """Return what is known of pages, and the bytes of their images where these are to be written."""
        known = self.file.facts(numbers, dpi=self.dpi, limits=self.limits, text=True)
        return [self._encoded(number, facts) for number, facts in zip(numbers, known, strict=True)]

    def _encoded(self, number: int, facts: PageFacts | InputError) -> tuple[PageFacts | InputError, bytes]:
        if self.images is None or isinstance(facts, InputError):
            return facts, b""
        page = Draw(number=number, dpi=self.dpi, max_pixels=self.limits.max_pixels)
        try:
            return facts, self.file.done(Encode(page=page, image_format=self.images.image_format), self.limits)
        except InputError as error:
            return error, b""

    def _page(self, number: int, facts: PageFacts, content: bytes) -> Page | InputError:
        try:
            image = self._image(number, facts, content)
        except InputError as error:
            return error
        self._tell(number, facts)
        return Page(
            source=self.path,
            number=number,
            n_pages=self.n_pages,
            image=image,
            dpi=facts.dpi,
            text=facts.text,
            label=facts.label,
        )

    def _tell(self, number: int, facts: PageFacts) -> None:
        """Log each font once of which letters are not drawn: vectors would be of a page without them."""
        for font in facts.missing_fonts:
            if font not in self.missing_fonts:
                self.missing_fonts.add(font)
                logger.warning(
                    "page %d of %s has text in the font %r, which is neither in the file nor on this machine: it is "
                    "not drawn. Install fonts of its script (for Chinese, Japanese and Korean: apt-get install "
                    "fonts-noto-cjk), or have the file made with its fonts embedded.",
                    number + 1,
                    self.path,
                    font,
                )

    def _image(self, number: int, facts: PageFacts, content: bytes) -> PageImage:
        source = PageSource(self.file.file, number + 1, dpi=self.dpi, passwords=self.file.passwords)
        if self.images is not None:
            return self.images.keep(content, source.label, facts.size)
        key = DrawnPage(file=self.file, source=source, limits=self.limits).key
        return PageImage(source=source, uri=source.uri, sha256=key.hex(), size=facts.size)
