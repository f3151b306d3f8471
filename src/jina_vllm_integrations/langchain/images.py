"""Images as LangChain passes them around, made items of an encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jina_vllm_integrations.errors import ImageAddressError, ItemTypeError
from jina_vllm_integrations.types import ImageInput, TextInput

if TYPE_CHECKING:
    from langchain_core.documents.base import Blob

    from jina_vllm_integrations.images import ImageSource
    from jina_vllm_integrations.types import Item

LangChainImage: TypeAlias = "ImageSource | ImageInput | Blob | Mapping[str, Any]"
"""An image: a source of this package's, a ``str`` among them, a `Blob`, or a content block of a message."""

LangChainInput: TypeAlias = "Item | Blob | Mapping[str, Any]"
"""A text or an image. Here a ``str`` is a text."""

_ADDRESS = re.compile(r"https?://|data:", re.IGNORECASE)


def image_item(image: LangChainImage) -> ImageInput:
    """Say explicitly that something is an image. Reads nothing.

    Args:
        image: A path, URL or data URI given as ``str``, a path object, bytes, a binary file, a PIL image, an
            `ImageInput`, a `Blob`, or a content block of the forms ``{"type": "image", "url" | "base64": ...}``,
            ``{"type": "image", "source_type": "url" | "base64", ...}`` and
            ``{"type": "image_url", "image_url": {"url": ...}}``.

    Raises:
        ItemTypeError: A block without an image in it, such as one with a provider's ``file_id``.
        ImageAddressError: A block's URL is neither http, https nor a data URI. Blocks come from conversations, which
            must not choose local files.
    """
    from langchain_core.documents.base import Blob

    match image:
        case ImageInput():
            return image
        case Blob():
            return ImageInput(_blob_source(image))
        case Mapping():
            return ImageInput(_block_source(image))
    return ImageInput(image)


def multimodal_item(given: LangChainInput) -> Item:
    """Return a text or an image as an item; content blocks and blobs as `image_item`, or of the type ``"text"``.

    Raises:
        ItemTypeError: A block with neither a text nor an image.
        ImageAddressError: As `image_item`.
    """
    from langchain_core.documents.base import Blob

    match given:
        case {"type": "text", "text": str() as text}:
            return TextInput(text)
        case Mapping() | Blob():
            return image_item(given)
    return given


def _blob_source(blob: Blob) -> ImageSource:
    if isinstance(blob.data, bytes):
        return blob.data
    if blob.data is None and blob.path is not None:
        return Path(blob.path)
    raise ItemTypeError(
        f"a Blob with an image has its bytes or a path, got {blob.mimetype or 'no MIME type'} with {blob.data!r:.40}. "
        "Make it with Blob.from_data(bytes) or Blob.from_path(path)."
    )


def _block_source(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "image", "base64": str() as content}:
            return f"data:;base64,{content}"
        case {"type": "image", "source_type": "base64", "data": str() as content}:
            return f"data:;base64,{content}"
        case {"type": "image", "url": str() as url}:
            return _address(url)
        case {"type": "image_url", "image_url": {"url": str() as url} | str(url)}:
            return _address(url)
        case {"file_id": str() as file_id} | {"source_type": "id", "id": str() as file_id}:
            raise ItemTypeError(
                f"an image block must hold its image or a URL, got the file_id {file_id!r:.60}, which only its "
                "provider can read. Download the file there and pass its bytes."
            )
    raise ItemTypeError(
        "an image block is {'type': 'image', 'base64' or 'url': ...} or {'type': 'image_url', 'image_url': {...}}, got "
        f"the type {block.get('type')!r:.40} with {', '.join(map(str, block))}. Pass the block that has the image."
    )


def _address(url: str) -> str:
    if _ADDRESS.match(url):
        return url
    raise ImageAddressError(
        f"the URL in an image block must be http, https or a data URI, got {url!r:.60}. If this file may be read, pass "
        "its path without the block."
    )
