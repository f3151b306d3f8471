"""What an item's vectors are kept under: everything that decides them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jina_vllm_integrations.encoding.content import digest, image_parts
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.threads import in_threads
from jina_vllm_integrations.images.documents import DrawnPage
from jina_vllm_integrations.types import ImagePrompt, Item, Request, Role, TextPrompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder


@dataclass(frozen=True, kw_only=True)
class Known:
    """An item whose content somebody noted when its vectors were kept, so that its file need not be read for them.

    Attributes:
        content: Its `content_key`.
        item: What it is, for a store that has no vectors of this content by this model and these options.
    """

    content: bytes
    item: Item


def pinned(request: Request) -> Request:
    """Return a request whose image is read from its file or URL once, so that what is hashed is what is embedded.

    Raises:
        ImageError: It cannot be read.
    """
    if isinstance(request.prompt, TextPrompt):
        return request
    return replace(request, prompt=replace(request.prompt, image=request.prompt.image.pinned()))


def pinned_requests(encoder: JinaEncoder, items: Iterable[Item], *, role: Role) -> list[Request]:
    """Return the pinned requests of items' token vectors.

    Raises:
        InputError: An item cannot be embedded; ``index`` names it.
    """
    return list(each_raised(each_pinned(encoder.requests(items, role=role, output="tokens"))))


def each_pinned(requests: Sequence[Request | InputError]) -> Iterator[Request | InputError]:
    """Yield requests pinned, each when it is taken; for one whose image cannot be read, the error, which names it."""
    n_images = sum(isinstance(request, Request) and isinstance(request.prompt, ImagePrompt) for request in requests)
    return in_threads(_pinned_at, enumerate(requests), n_images)


def each_raised(requests: Iterable[Request | InputError]) -> Iterator[Request]:
    """Yield requests, and raise the first error in the place of one."""
    for request in requests:
        if isinstance(request, InputError):
            raise request
        yield request


def source_key(request: Request) -> bytes:
    """Return a key of a request's prompt and of an image as it is encoded: known without decoding it.

    Args:
        request: Pinned.
    """
    prompt = request.prompt
    if isinstance(prompt, TextPrompt):
        return digest([b"text", _token_bytes(prompt)])
    image = prompt.image.origin
    if isinstance(image, Image.Image | DrawnPage):
        return content_key(request)
    assert isinstance(image, bytes)
    return digest([b"encoded image", _token_bytes(prompt), image])


def content_key(request: Request) -> bytes:
    """Return a key of a request's prompt and of an image's pixels, equal for all files that show them.

    Of a document's page it is what decides the pixels, so that it is known without drawing it.

    The prompt is what the model reads: the role and task count as far as they change it, and so do truncation and the
    tokenizer. An image has one prompt, so it is the same as a query and as a document.

    Args:
        request: Pinned.

    Raises:
        ImageError: The image cannot be decoded.
    """
    prompt = request.prompt
    if isinstance(prompt, TextPrompt):
        return source_key(request)
    return digest([b"image", _token_bytes(prompt), *image_parts(prompt.image)])


def _pinned_at(place: tuple[int, Request | InputError]) -> Request | InputError:
    position, request = place
    try:
        return request if isinstance(request, InputError) else pinned(request)
    except InputError as error:
        error.index = position
        return error


def _token_bytes(prompt: TextPrompt | ImagePrompt) -> bytes:
    return np.asarray(prompt.token_ids, dtype="<i4").tobytes()
