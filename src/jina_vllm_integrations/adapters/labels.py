"""What traces and events call a text or an image."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING

from PIL import Image

from jina_vllm_integrations.encoding.queries import items_of_query
from jina_vllm_integrations.foundation.opening import Beneath
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.addresses import is_data_uri, is_url, url_label
from jina_vllm_integrations.types import ImageInput, TextImageQuery, TextInput

if TYPE_CHECKING:
    from jina_vllm_integrations.images import ImageSource
    from jina_vllm_integrations.types import Query


def label(item: Query) -> str:
    """Return what events call an item: a text, path, or URL without what may be secret, but never an image's bytes."""
    match item:
        case TextImageQuery():
            return " + ".join(map(label, items_of_query(item)))
        case str():
            return item
        case TextInput():
            return item.text
        case ImageInput():
            return _image_label(item.source)
    return _image_label(item)


def _image_label(source: ImageSource) -> str:
    match source:
        case str() if is_data_uri(source):
            return _content_label(source.encode())
        case PageSource() | Beneath():
            return source.uri if isinstance(source, PageSource) else str(source)
        case str() | os.PathLike():
            name = os.fsdecode(source)
            return url_label(name) if is_url(name) else name
        case bytes() | bytearray() | memoryview() | io.BytesIO():
            return _content_label(source.getbuffer() if isinstance(source, io.BytesIO) else source)
        case Image.Image():  # whose pixels may not be decoded yet
            return "image:{}x{} pixels".format(*source.size)
    return f"image:{getattr(source, 'name', 'binary file')}"


def _content_label(content: bytes | bytearray | memoryview) -> str:
    return f"image:{hashlib.sha256(content).hexdigest()[:16]}"
