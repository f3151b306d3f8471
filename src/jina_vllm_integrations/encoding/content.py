"""What an item is, in 32 bytes: of equal content, and of no other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from jina_vllm_integrations.images.documents import DrawnPage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jina_vllm_integrations.images import ImageHandle


def digest(parts: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of parts, each after its length: whoever chooses the content must not choose the digest."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.digest()


def image_parts(handle: ImageHandle) -> tuple[bytes, bytes]:
    """Return what decides how an image looks, the same for all files that show it: its size and its RGB pixels.

    Of a document's page it is the file's bytes, which page it is and how it is drawn: known without drawing it.

    Args:
        handle: Pinned, so that what is hashed is what is embedded.

    Raises:
        InputError: The image cannot be decoded; or the page's file cannot be read, or is not what it was.
    """
    if isinstance(handle.origin, DrawnPage):
        return b"page", handle.origin.key
    page = handle.load()
    return "{}x{}".format(*page.size).encode(), page.tobytes()
