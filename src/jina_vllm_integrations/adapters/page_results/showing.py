"""Shows found pages."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.adapters.page_results.records import ImageMode, ShownPage
from jina_vllm_integrations.adapters.page_results.wording import INSIDE, NO_URL, reason_line
from jina_vllm_integrations.errors import ImageAddressError, InputError
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.addresses import ImageURL, is_data_uri, url_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.adapters.page_results.records import FoundPage
    from jina_vllm_integrations.adapters.thumbnails import Thumbnails
    from jina_vllm_integrations.types import ImageInput

logger = logging.getLogger(__name__)

_LONGEST_SOURCE = 200
_LONGEST_PAGE = 20
_LONGEST_REFERENCE = 4096  # as of a path; metadata may hold a text of any length

_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
# Some stores keep a page's image where its text should be, as bare base64: no language has words like that.
_ENCODED_IMAGE = re.compile(r"data:\S|[a-z0-9+/]{200}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class PageResults:
    """Writes one text a page, and shows the page's image where there is one to show.

    A page whose image cannot be had is still a page that was found: its text says why, and the log says more.

    Attributes:
        mode: How images come.
        images: Which of those that documents name may be read.
        thumbnails: Makes them, for ``"blocks"``.
        image_url: What to call a document's image instead of what the document says, for ``"url"`` and
            ``"reference"``; returns ``None`` for a document without one.
        max_characters: Of a document's text; 0 for none.
    """

    mode: ImageMode
    images: PageImages
    thumbnails: Thumbnails
    image_url: Callable[[Any], str | None] | None
    max_characters: int

    def shown(self, pages: Iterable[FoundPage]) -> list[ShownPage]:
        """Return what is shown of pages, the best first. Reads and fetches images in the mode ``"blocks"`` only."""
        return [self._shown(rank, page) for rank, page in enumerate(pages, start=1)]

    def _shown(self, rank: int, page: FoundPage) -> ShownPage:
        image, line = self._image_and_line(page)
        lines = [_heading(rank, page), self._excerpt(page.text), line]
        return ShownPage(text="\n".join(filter(None, lines)), image=image)

    def _image_and_line(self, page: FoundPage) -> tuple[bytes | str | None, str]:
        """Return the image, and a line about it where there is none to show but something to say."""
        try:
            match self.mode:
                case "blocks":
                    return self._thumbnail(page), ""
                case "url":
                    url = self._url(page)
                    return url, NO_URL if url is None else ""
                case "reference":
                    return None, self._reference(page)
                case "none":
                    return None, ""
        except InputError as error:
            logger.warning("the image of a page that was found is not shown: %s", error)
            return None, reason_line(error)

    def _thumbnail(self, page: FoundPage) -> bytes | None:
        image = self._named(page)
        return None if image is None else self.thumbnails.of(image.source)

    def _url(self, page: FoundPage) -> str | None:
        url = _web_url(page) if self.image_url is None else self.image_url(page.document)
        if url is not None:
            ImageURL.parse(_bounded(url))  # whoever fetches it must see no other scheme, and no password
        return url

    def _reference(self, page: FoundPage) -> str:
        reference = self._address(page) if self.image_url is None else self.image_url(page.document)
        if reference is None:
            return ""
        return INSIDE if is_data_uri(reference) else f"Image: {_bounded(reference)}"

    def _address(self, page: FoundPage) -> str | None:
        image = self._named(page)
        if image is None:
            return None
        return image.source.uri if isinstance(image.source, PageSource) else str(image.source)

    def _named(self, page: FoundPage) -> ImageInput | None:
        """Return the image that counts, not yet opened, if it may be read."""
        return self.images.read(page.images[0].source, page.images[0].place) if page.images else None

    def _excerpt(self, text: str) -> str:
        text = text.strip()
        if self.max_characters == 0 or _ENCODED_IMAGE.match(text):
            return ""
        return text if len(text) <= self.max_characters else f"{text[: self.max_characters].rstrip()} …"


def _heading(rank: int, page: FoundPage) -> str:
    return f"[{rank}] {', '.join(_bearings(page))}".rstrip()


def _bearings(page: FoundPage) -> list[str]:
    """Return where a page is from, and how well it fits, as far as that is known. Metadata may hold anything."""
    found = []
    if page.source and not is_data_uri(page.source):
        found.append(page.source[-_LONGEST_SOURCE:])
    if page.page and len(page.page) <= _LONGEST_PAGE:
        found.append(f"page {page.page}")
    if page.score is not None:
        found.append(f"score {page.score:.3f}")
    return found


def _web_url(page: FoundPage) -> str | None:
    sources = (image.source for image in page.images)
    return next((source for source in sources if isinstance(source, str) and _WEB_URL.match(source)), None)


def _bounded(reference: str) -> str:
    """Check that an address is not longer than one can be.

    Raises:
        ImageAddressError: It is.
    """
    if len(reference) > _LONGEST_REFERENCE:
        raise ImageAddressError(
            f"an image's path or URL may have {_LONGEST_REFERENCE:,} characters, got {len(reference):,} that begin "
            f"{url_label(reference)!r}. Correct the document's metadata."
        )
    return reference
