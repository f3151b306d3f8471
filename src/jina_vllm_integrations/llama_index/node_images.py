"""Which image a LlamaIndex node holds or names, in whichever of its shapes."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import ImageNode, MetadataMode, Node, TextNode

from jina_vllm_integrations.types import ImageInput

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

    from jina_vllm_integrations.adapters.page_images import PageImages


_BASE64 = "data:;base64,"
# Where an `ImageNode` has what is found in a field of a node.
_FIELDS = {
    "image": "image",
    "image_path": "image_path",
    "image_url": "image_url",
    "image_resource.data": "image",
    "image_resource.path": "image_path",
    "image_resource.url": "image_url",
}


@dataclass(frozen=True, kw_only=True)
class NodeImage:
    """An image of a node, not yet opened.

    Attributes:
        place: The field that has it, such as ``"image_path"``.
        source: A data URI, a path or a URL.
    """

    place: str
    source: str

    def trusted(self) -> ImageInput:
        """Return it for reading, wherever it is: for nodes that the caller passes to be embedded."""
        return ImageInput(Path(self.source) if self.place.endswith("path") else self.source)


def held_image(node: BaseNode) -> NodeImage | None:
    """Return the image in a node's fields; ``None`` for a text.

    Args:
        node: An `ImageNode`, or a `Node` or `Document` with an ``image_resource``, each with bytes, a path or a URL.
    """
    if isinstance(node, ImageNode):
        return _first(image=node.image, image_path=node.image_path, image_url=node.image_url)
    if isinstance(node, Node) and node.image_resource is not None:
        resource = node.image_resource
        return _first(
            **{
                "image_resource.data": None if resource.data is None else resource.data.decode(),
                "image_resource.path": None if resource.path is None else str(resource.path),
                "image_resource.url": None if resource.url is None else str(resource.url),
            }
        )
    return None


def allowed_image(node: BaseNode, images: PageImages) -> ImageInput | None:
    """Return the image of a node that came out of a store, if it may be read; ``None`` for a text.

    Some stores return an image's node as a text's. Then the image is the one that the metadata names.

    Raises:
        ImageError: It must not be read.
    """
    held = held_image(node)
    return images.named_by(node.metadata) if held is None else images.read(held.source, held.place)


def image_source(node: BaseNode, images: PageImages) -> str | None:
    """Return how a node holds or names its image; ``None`` for a text."""
    held = held_image(node)
    return images.source(node.metadata) if held is None else held.source


def as_image_node(node: BaseNode) -> BaseNode:
    """Return a node that every store keeps with its image: an image document, which most make a text's, as `ImageNode`.

    Any other node is returned as it is.
    """
    held = None if isinstance(node, ImageNode) else held_image(node)
    if held is None:
        return node
    return _image_node(node, {_FIELDS[held.place]: held.source.removeprefix(_BASE64)})


def with_picture(node: BaseNode, content: bytes, mime_type: str) -> ImageNode:
    """Return a copy of a node that holds a picture, in place of whatever image it held or named."""
    picture = {"image": base64.b64encode(content).decode(), "image_mimetype": mime_type}
    if isinstance(node, ImageNode):
        return node.model_copy(update={"image_path": None, "image_url": None, **picture})
    return _image_node(node, picture)


def without_image(node: BaseNode) -> TextNode:
    """Return a copy of a node as a text, which holds no image."""
    return TextNode(**_text_fields(node))


def _image_node(node: BaseNode, image: dict[str, str]) -> ImageNode:
    return ImageNode(**_text_fields(node), **image)


def _text_fields(node: BaseNode) -> dict[str, Any]:
    return {
        "id_": node.node_id,
        "text": node.get_content(MetadataMode.NONE),
        "embedding": node.embedding,
        "metadata": dict(node.metadata),
        "excluded_embed_metadata_keys": list(node.excluded_embed_metadata_keys),
        "excluded_llm_metadata_keys": list(node.excluded_llm_metadata_keys),
        "relationships": dict(node.relationships),
    }


def _first(**fields: str | None) -> NodeImage | None:
    """Return the first field that has something."""
    for place, value in fields.items():
        if value:
            return NodeImage(place=place, source=f"{_BASE64}{value}" if _FIELDS[place] == "image" else value)
    return None
