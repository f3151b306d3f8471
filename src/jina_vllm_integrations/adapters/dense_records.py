"""What a key-value store keeps: bytes that show whether they are whole, and vectors as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.model.pooling import normalize
from jina_vllm_integrations.token_store.checksums import N_BYTES, is_whole, with_checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.types import FloatArray

_MAGIC = b"JVC1"
_HALF = np.dtype("<f2")


def to_record(key: bytes, content: bytes) -> bytes:
    """Put the format and a checksum of key and content before a content: twelve bytes."""
    return _MAGIC + with_checksum(key, content)


def from_record(key: bytes, record: object) -> bytes | None:
    """Return the content of a record; ``None`` where `to_record` did not make it, or not for this key."""
    if not isinstance(record, bytes | bytearray | memoryview) or record[: len(_MAGIC)] != _MAGIC:
        return None
    value = bytes(record[len(_MAGIC) :])
    content = value[N_BYTES:]
    return content if is_whole(key, value, content) else None


def to_content(vector: FloatArray) -> bytes:
    """Return a vector in float16, little-endian."""
    return vector.astype(_HALF).tobytes()


def to_vectors(contents: Sequence[bytes]) -> FloatArray:
    """Return the vectors of contents, of unit length again.

    *Shape:* ``(len(contents), dimensions)``, float32.
    """
    halves = np.frombuffer(b"".join(contents), _HALF).reshape(len(contents), -1)
    return normalize(halves.astype(np.float32))
