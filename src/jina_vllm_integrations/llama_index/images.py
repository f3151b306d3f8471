"""Texts and images as LlamaIndex passes them around, made items of an encoder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.schema import BaseNode, ImageDocument, ImageNode, MetadataMode, Node

from jina_vllm_integrations.errors import EmptyTextError, ItemTypeError
from jina_vllm_integrations.llama_index.node_images import held_image
from jina_vllm_integrations.types import ImageInput, TextInput

if TYPE_CHECKING:
    from jina_vllm_integrations.images import ImageSource
    from jina_vllm_integrations.types import EmptyText

LlamaIndexImage: TypeAlias = "ImageSource | ImageInput | BaseNode | ImageBlock"
"""An image: a source of this package's, a ``str`` among them, a node with an image, or a block of a message."""


def image_item(image: LlamaIndexImage) -> ImageInput:
    """Say explicitly that something is an image. Reads nothing.

    Args:
        image: A path, URL or data URI given as ``str``, a path object, bytes, a binary file, a PIL image, an
            `ImageInput`, an `ImageNode`, an `ImageDocument`, a `Node` with an ``image_resource``, or an `ImageBlock`.
            The caller answers for a path in a node or block: it is read wherever it leads.

    Raises:
        ItemTypeError: A node or block without an image.
    """
    match image:
        case ImageInput():
            return image
        case BaseNode():
            return _node_image(image)
        case ImageBlock():
            return ImageInput(_block_source(image))
    return ImageInput(image)


def node_item(node: BaseNode, *, empty_text: EmptyText = "raise") -> TextInput | ImageInput:
    """Return what of a node is embedded: its image, or of one without the text that LlamaIndex embeds.

    Raises:
        ItemTypeError: The node should have an image and has none.
        EmptyTextError: It has neither image nor text, and that raises.
    """
    if _should_have_image(node):
        return _node_image(node)
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    if text.strip() or empty_text == "prompt":
        return TextInput(text)
    raise EmptyTextError(
        f"a node must have a text or an image, {node.node_id!r} has neither. Leave it out; if a splitter made it of a "
        "Node(image_resource=...), make that an ImageDocument, which keeps its image."
    )


def _should_have_image(node: BaseNode) -> bool:
    return isinstance(node, ImageNode | ImageDocument) or (isinstance(node, Node) and node.image_resource is not None)


def _node_image(node: BaseNode) -> ImageInput:
    held = held_image(node)
    if held is not None:
        return held.trusted()
    raise ItemTypeError(
        f"a {type(node).__name__} must have an image, {node.node_id!r} has no bytes, path or URL of one. Pass it "
        "image=... in base64, image_path= or image_url=; bytes in an image_resource get lost when LlamaIndex "
        "serialises a node or makes an ImageNode of it. Embed a text as a TextNode or Document."
    )


def _block_source(block: ImageBlock) -> ImageSource:
    if isinstance(block.image, bytes) and block.image:
        return f"data:;base64,{block.image.decode()}"
    if isinstance(block.image, io.IOBase):
        return block.image  # type: ignore[return-value]  # a binary file, which the images' room checks
    if block.path is not None:
        return Path(block.path)
    if block.url is not None:
        return str(block.url)
    raise ItemTypeError("an ImageBlock must have an image, path or url, got none. Pass the one that has the image.")
