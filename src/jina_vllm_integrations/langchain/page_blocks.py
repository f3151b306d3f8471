"""Found documents as pages, and pages as the content blocks of a message."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages.content import ImageContentBlock, TextContentBlock

from jina_vllm_integrations.adapters.page_results import FoundPage, NamedImage
from jina_vllm_integrations.adapters.thumbnails import MIME_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.documents import Document

    from jina_vllm_integrations.adapters.page_results import ShownPage

Block: TypeAlias = TextContentBlock | ImageContentBlock


def found_page(document: Document, image_keys: Iterable[str], score_key: str | None) -> FoundPage:
    """Return a document as a page, with the score that its metadata has there."""
    source, score = document.metadata.get("source"), document.metadata.get(score_key)
    return FoundPage(
        document=document,
        text=document.page_content,
        images=NamedImage.in_metadata(document.metadata, image_keys),
        source=source if isinstance(source, str) else None,
        page=_page(document.metadata),
        score=score if isinstance(score, float) else None,
    )


def blocks(page: ShownPage) -> list[Block]:
    """Return a page's text, and after it the image if there is one."""
    text = TextContentBlock(type="text", text=page.text)
    match page.image:
        case None:
            return [text]
        case bytes() as content:
            return [text, image_block(content)]
        case url:
            return [text, ImageContentBlock(type="image", url=url)]


def image_block(content: bytes) -> ImageContentBlock:
    """Return a JPEG as the block of a message."""
    return ImageContentBlock(type="image", base64=base64.b64encode(content).decode(), mime_type=MIME_TYPE)


def _page(metadata: Mapping[str, Any]) -> str | None:
    """Return a page's number as people count."""
    match metadata.get("page"):
        case (int() | float()) as page if page % 1 == 0:  # some stores make every number a float
            return str(int(page) + 1)
    return None
