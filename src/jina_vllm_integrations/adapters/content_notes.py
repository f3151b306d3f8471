"""Which picture a stored document's image shows, noted in its metadata: a search then needs no file to rank it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.encoding.content import digest
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.token_store.keys import Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_vllm_integrations.types import Item

KEY = "jina_vllm_content"
"""Where the note is, on the copy of a document that goes into a store. What comes out has none."""

_NOTE = re.compile(r"([0-9a-f]{64})-([0-9a-f]{16})")

# Metadata is anybody's, so a note may be forged. It is a hash of pixels, without any model or option: from it and from
# the present ones the token store's key is made, so no note leads to vectors of another model, task or way of keeping
# them. What a forged one can do is have a document ranked by another page's vectors. That page's pixels, as a data URI
# in the document, do the same, and need no leave; the vectors are never shown. The bond to the image's name guards
# against mistakes: who gives a document another image, and keeps its metadata, has not noted that image.


def note(content: bytes, source: str) -> str:
    """Return what to write of an image.

    Args:
        content: Its `content_key`.
        source: How the document names or holds it.
    """
    return f"{content.hex()}-{_bond(content, source)}"


def with_known(item: Item | InputError, metadata: Mapping[str, Any], source: str | None) -> Item | InputError | Known:
    """Return an item with what is noted of it; without a note, the item itself.

    Args:
        item: What a document is ranked by. An image that must not be read stays the error that it is.
        metadata: The document's.
        source: How the document names or holds its image; ``None`` for a text.
    """
    found = metadata.get(KEY)
    if source is None or isinstance(item, InputError) or not isinstance(found, str):
        return item
    match = _NOTE.fullmatch(found)
    if match is None:
        return item
    content = bytes.fromhex(match[1])
    return Known(content=content, item=item) if match[2] == _bond(content, source) else item


def _bond(content: bytes, source: str) -> str:
    return digest([content, source.encode(errors="surrogatepass")]).hex()[:16]
