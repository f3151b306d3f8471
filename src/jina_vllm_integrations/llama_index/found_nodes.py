"""Found nodes as pages, and pages as the content blocks of a tool's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.schema import MetadataMode

from jina_vllm_integrations.adapters.page_results import FoundPage, NamedImage
from jina_vllm_integrations.adapters.thumbnails import MIME_TYPE
from jina_vllm_integrations.llama_index.node_images import held_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llama_index.core.base.llms.types import ContentBlock
    from llama_index.core.schema import BaseNode, NodeWithScore

    from jina_vllm_integrations.adapters.page_results import ShownPage

# Of LlamaIndex's readers. The text is without metadata, so this is what a model can cite.
_SOURCE_KEYS = ("file_path", "file_name", "source")
_PAGE_KEY = "page_label"


def found_page(found: NodeWithScore, image_keys: Iterable[str]) -> FoundPage:
    """Return a node as a page."""
    node = found.node
    return FoundPage(
        document=found,
        text=node.get_content(MetadataMode.NONE),
        images=named_images(node, image_keys),
        source=next((text for key in _SOURCE_KEYS if (text := _text(node.metadata, key))), None),
        page=_text(node.metadata, _PAGE_KEY),
        score=None if found.score is None else float(found.score),
    )


def blocks(page: ShownPage) -> list[ContentBlock]:
    """Return a page's text, and after it the image if there is one."""
    text = TextBlock(text=page.text)
    match page.image:
        case None:
            return [text]
        case bytes() as content:
            return [text, image_block(content)]
        case url:
            return [text, ImageBlock(url=url)]


def image_block(content: bytes) -> ImageBlock:
    """Return a JPEG as the block of a message."""
    return ImageBlock(image=content, image_mimetype=MIME_TYPE)


def named_images(node: BaseNode, image_keys: Iterable[str]) -> tuple[NamedImage, ...]:
    """Return the image that a node holds, and those that its metadata names: some stores keep only these."""
    held = held_image(node)
    named = NamedImage.in_metadata(node.metadata, image_keys)
    return named if held is None else (NamedImage(place=held.place, source=held.source), *named)


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return str(value) if isinstance(value, str | int) else None
