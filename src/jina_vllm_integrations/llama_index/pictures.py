"""A found page as a picture, to put before a language model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from llama_index.core.schema import NodeWithScore

from jina_vllm_integrations.adapters.pictures import MAX_PIXELS, PictureForm, PictureOptions, Pictures
from jina_vllm_integrations.llama_index.found_nodes import image_block, named_images

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llama_index.core.base.llms.types import ImageBlock
    from llama_index.core.schema import BaseNode
    from PIL import Image

    from jina_vllm_integrations.images import ImageLimits


@overload
def page_image(
    node: BaseNode | NodeWithScore, *, form: Literal["pil"] = "pil", **options: Unpack[PictureOptions]
) -> Image.Image: ...
@overload
def page_image(
    node: BaseNode | NodeWithScore, *, form: Literal["bytes"], **options: Unpack[PictureOptions]
) -> bytes: ...
@overload
def page_image(
    node: BaseNode | NodeWithScore, *, form: Literal["block"], **options: Unpack[PictureOptions]
) -> ImageBlock: ...
def page_image(
    node: BaseNode | NodeWithScore,
    *,
    form: PictureForm = "pil",
    max_pixels: int = MAX_PIXELS,
    retriever: object = None,
    image_keys: Iterable[str] | None = None,
    allowed_image_roots: Iterable[str | Path] | None = None,
    allow_image_urls: bool | None = None,
    image_limits: ImageLimits | None = None,
) -> Image.Image | bytes | ImageBlock:
    """Return the image of a found page as a picture: a file's, a page's of a PDF, which is drawn, or a URL's.

    Args:
        node: One that holds an image, or whose metadata names one. It may be a stranger's, so the image must be one
            that may be read.
        form: ``"pil"``: an image of mode RGB; ``"bytes"``: a JPEG file; ``"block"``: LlamaIndex's `ImageBlock` for a
            message, with the JPEG inside.
        max_pixels: How many the picture may have; a larger one is scaled down.
        retriever: What found it. What it allows counts where the following four are left out, as for
            `create_page_search_tool`.
        image_keys: Where metadata may name an image of a node that holds none; the first that is there counts.
        allowed_image_roots: The folders whose files nodes may name.
        allow_image_urls: Fetch http and https URLs that nodes name, from public addresses only.
        image_limits: What an image may cost.

    Raises:
        OptionError: A value that does not exist or does not fit.
        ItemTypeError: The node has no image.
        ImageError: It may not be read, is missing, damaged or too large.
        PageError: It is a page of a file that is missing, damaged or encrypted, or that costs too much to draw.
        MissingExtraError: It is a page of a PDF, and pypdfium2 is not installed.

    Example:
        >>> found = retriever.retrieve("Where is the total?")[0]
        >>> image = page_image(found, form="block", retriever=retriever)
        >>> llm.chat([ChatMessage(blocks=[TextBlock(text="What is the total?"), image])])
    """
    pictures = Pictures.checked(
        form,
        retriever,
        max_pixels=max_pixels,
        image_keys=image_keys,
        allowed_image_roots=allowed_image_roots,
        allow_image_urls=allow_image_urls,
        image_limits=image_limits,
    )
    node = node.node if isinstance(node, NodeWithScore) else node
    images = named_images(node, pictures.access.images.keys)
    return pictures.made(form, images, image_block)


@overload
async def apage_image(
    node: BaseNode | NodeWithScore, *, form: Literal["pil"] = "pil", **options: Unpack[PictureOptions]
) -> Image.Image: ...
@overload
async def apage_image(
    node: BaseNode | NodeWithScore, *, form: Literal["bytes"], **options: Unpack[PictureOptions]
) -> bytes: ...
@overload
async def apage_image(
    node: BaseNode | NodeWithScore, *, form: Literal["block"], **options: Unpack[PictureOptions]
) -> ImageBlock: ...
async def apage_image(node: BaseNode | NodeWithScore, **options: Any) -> Image.Image | bytes | ImageBlock:
    """Do as `page_image`, in a thread: it does not block the event loop."""
    image: Image.Image | bytes | ImageBlock = await asyncio.to_thread(lambda: page_image(node, **options))
    return image
