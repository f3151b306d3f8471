"""Which picture an encoded image shows, noted so that it need not be decoded again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PIL import Image

from jina_vllm_integrations.encoding.content import digest
from jina_vllm_integrations.errors import naming
from jina_vllm_integrations.foundation.threads import in_threads
from jina_vllm_integrations.images.documents import DrawnPage
from jina_vllm_integrations.token_store.keys import content_key, source_key
from jina_vllm_integrations.types import ImagePrompt, Request, TextPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Notes:
    """The contents of some requests, as far as they must be decoded to be known.

    A note has the `content_key` of an encoded image under a hash of its bytes. Texts, PIL images and
    documents' pages need none.

    Args:
        requests: Pinned.

    Attributes:
        keys: What the notes are under that may be there already.
        new: Notes that were not there, by key; they are complete when all contents were taken.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._keys = [_note_key(request) for request in requests]
        self.keys = [key for key in self._keys if key is not None]
        self.new: dict[bytes, bytes] = {}

    def contents(self, known: Mapping[bytes, bytes]) -> Iterator[bytes]:
        """Yield the `content_key` of each request. An image is decoded if there is no note of its bytes.

        Args:
            known: Notes by key; others than these requests' do no harm.

        Raises:
            ImageError: An image cannot be decoded; ``index`` names its request.
        """
        n_images = sum(isinstance(request.prompt, ImagePrompt) for request in self._requests)
        n_known = sum(key in known for key in self.keys)
        return in_threads(partial(self._content, known), range(len(self._requests)), n_images - n_known)

    def _content(self, known: Mapping[bytes, bytes], position: int) -> bytes:
        request, key = self._requests[position], self._keys[position]
        if key is not None and (noted := known.get(key) or self.new.get(key)):
            return noted
        with naming(position):
            content = content_key(request)
        if key is not None:
            self.new[key] = content
        return content


def _note_key(request: Request) -> bytes | None:
    prompt = request.prompt
    if isinstance(prompt, TextPrompt) or isinstance(prompt.image.origin, Image.Image | DrawnPage):
        return None
    return digest([b"content of", source_key(request)])
