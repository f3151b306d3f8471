"""What a tool that searches pages says to a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import (
    BrokenPdfError,
    EncryptedPdfError,
    ImageAddressError,
    ImageError,
    ImageFetchError,
    ImageFormatError,
    ImageNotFoundError,
    ImageSizeError,
    InputError,
    ItemTypeError,
    PageCostError,
    PageError,
    PageNotFoundError,
)

if TYPE_CHECKING:
    from jina_vllm_integrations.adapters.page_results.records import ImageMode

NOTHING_FOUND = "No pages were found. Search again in other words, or for something more general."
INSIDE = "Image: not available, it is inside the document and has no address."
NO_URL = "Image: not available, it has no URL."

_DESCRIPTION = (
    "Search a collection of document pages (reports, scans, slides, pages with tables, charts or photos) by what they "
    "say and what they show. Returns the pages that fit best, the best first, each with its source, its page number "
    "and the beginning of its text{image}. Write the query as a full question or as a description of the page that "
    "would answer it. If no page answers, search again in other words. Name source and page of what you use."
)
_IMAGE: dict[ImageMode, str] = {
    "blocks": ", followed by an image of the page, which you can read",
    "url": ", followed by an image of the page, which you can read",
    "reference": (
        ", and with the path or URL of its image, or of its file with the page's number behind #page=, which you can "
        "open with another tool"
    ),
    "none": "",
}
# What a model may know. The errors' own messages name paths, and are for who runs it.
_REASONS: dict[type[Exception], str] = {
    ImageNotFoundError: "its file is missing",
    ImageFormatError: "its file is damaged or of another kind",
    ImageSizeError: "it is too large",
    ImageAddressError: "it has no address that may be used",
    ImageFetchError: "it could not be fetched",
    ImageError: "it may not be read",
    PageNotFoundError: "its file is missing",
    BrokenPdfError: "its file is damaged or of another kind",
    EncryptedPdfError: "its file is encrypted",
    PageCostError: "it is too large",
    PageError: "it cannot be drawn",
    ItemTypeError: "the document does not say where it is",
}


def general_description(mode: ImageMode) -> str:
    """Return what a tool is for, whatever is in the collection."""
    return _DESCRIPTION.format(image=_IMAGE[mode])


def reason_line(error: InputError) -> str:
    """Return why a page's image cannot be had, as the last line of the page's text."""
    reason = next(_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS)
    return f"Image: not available, {reason}."
