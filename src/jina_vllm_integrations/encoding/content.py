"""What an item is, in 32 bytes: of equal content, and of no other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

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


def pixels(handle: ImageHandle) -> tuple[bytes, bytes]:
    """Return an image's size and its RGB pixels, which are the same for all files that show it.

    Args:
        handle: Pinned, so that what is hashed is what is embedded.

    Raises:
        ImageError: It cannot be decoded.
    """
    page = handle.load()
    return "{}x{}".format(*page.size).encode(), page.tobytes()
