"""A found page as a picture, to put before a language model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from jina_vllm_integrations.adapters.page_results import NamedImage
from jina_vllm_integrations.adapters.pictures import MAX_PIXELS, PictureForm, PictureOptions, Pictures
from jina_vllm_integrations.langchain.page_blocks import image_block
from jina_vllm_integrations.langchain.runnables import check_retriever, retriever_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from langchain_core.documents import Document
    from langchain_core.messages.content import ImageContentBlock
    from langchain_core.runnables import Runnable
    from PIL import Image

    from jina_vllm_integrations.images import ImageLimits


@overload
def page_image(
    document: Document, *, form: Literal["pil"] = "pil", **options: Unpack[PictureOptions]
) -> Image.Image: ...
@overload
def page_image(document: Document, *, form: Literal["bytes"], **options: Unpack[PictureOptions]) -> bytes: ...
@overload
def page_image(
    document: Document, *, form: Literal["block"], **options: Unpack[PictureOptions]
) -> ImageContentBlock: ...
def page_image(
    document: Document,
    *,
    form: PictureForm = "pil",
    max_pixels: int = MAX_PIXELS,
    retriever: Runnable[str, list[Document]] | None = None,
    image_keys: Iterable[str] | None = None,
    allowed_image_roots: Iterable[str | Path] | None = None,
    allow_image_urls: bool | None = None,
    image_limits: ImageLimits | None = None,
) -> Image.Image | bytes | ImageContentBlock:
    """Return the image of a found page as a picture: a file's, a page's of a PDF, which is drawn, or a URL's.

    Args:
        document: Whose metadata names an image. It may be a stranger's, so the image must be one that may be read.
        form: ``"pil"``: an image of mode RGB; ``"bytes"``: a JPEG file; ``"block"``: LangChain's content block for a
            message, with the JPEG inside.
        max_pixels: How many the picture may have; a larger one is scaled down.
        retriever: What found it. What it allows counts where the following four are left out, as for
            `create_page_search_tool`.
        image_keys: Where metadata may name an image; the first that is there counts.
        allowed_image_roots: The folders whose files metadata may name.
        allow_image_urls: Fetch http and https URLs that metadata names, from public addresses only.
        image_limits: What an image may cost.

    Raises:
        OptionError: A value that does not exist or does not fit.
        ItemTypeError: The document names no image.
        ImageError: It may not be read, is missing, damaged or too large.
        PageError: It is a page of a file that is missing, damaged or encrypted, or that costs too much to draw.
        MissingExtraError: It is a page of a PDF, and pypdfium2 is not installed.

    Example:
        >>> page = retriever.invoke("Where is the total?")[0]
        >>> image = page_image(page, form="block", retriever=retriever)
        >>> model.invoke([HumanMessage([{"type": "text", "text": "What is the total?"}, image])])
    """
    if retriever is not None:
        check_retriever(retriever)
    pictures = Pictures.checked(
        form,
        None if retriever is None else retriever_in(retriever),
        max_pixels=max_pixels,
        image_keys=image_keys,
        allowed_image_roots=allowed_image_roots,
        allow_image_urls=allow_image_urls,
        image_limits=image_limits,
    )
    images = NamedImage.in_metadata(document.metadata, pictures.access.images.keys)
    return pictures.made(form, images, image_block)


@overload
async def apage_image(
    document: Document, *, form: Literal["pil"] = "pil", **options: Unpack[PictureOptions]
) -> Image.Image: ...
@overload
async def apage_image(document: Document, *, form: Literal["bytes"], **options: Unpack[PictureOptions]) -> bytes: ...
@overload
async def apage_image(
    document: Document, *, form: Literal["block"], **options: Unpack[PictureOptions]
) -> ImageContentBlock: ...
async def apage_image(document: Document, **options: Any) -> Image.Image | bytes | ImageContentBlock:
    """Do as `page_image`, in a thread: it does not block the event loop."""
    image: Image.Image | bytes | ImageContentBlock = await asyncio.to_thread(lambda: page_image(document, **options))
    return image
