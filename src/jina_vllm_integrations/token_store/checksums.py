"""What shows that bytes are what was written, and under which key."""

from __future__ import annotations

import struct
from typing import Any

import xxhash

_CHECKSUM = struct.Struct("<Q")
N_BYTES = _CHECKSUM.size
"""How many bytes precede the content."""


def with_checksum(key: bytes, content: bytes) -> bytes:
    """Return content after a checksum of it and of its key, so that one entry in another's place is found, too."""
    return _CHECKSUM.pack(_checksum(key, content)) + content


def is_whole(key: bytes, value: Any, content: bytes | bytearray | memoryview) -> bool:
    """Return whether a value is what `with_checksum` made.

    Args:
        key: What it was found under.
        value: Any bytes.
        content: Those after the checksum, or a copy of them.
    """
    return len(value) >= N_BYTES and bool(_CHECKSUM.unpack_from(value)[0] == _checksum(key, content))


def _checksum(key: bytes, content: bytes | bytearray | memoryview) -> int:
    return xxhash.xxh3_64_intdigest(content, seed=xxhash.xxh3_64_intdigest(key))
