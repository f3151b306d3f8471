"""Ids of points, which are UUIDs: of an item's content, or of the caller's own name for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from jina_vllm_integrations.encoding.content import digest, image_parts
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.images import ImageHandle

if TYPE_CHECKING:
    from jina_vllm_integrations.types import Role, Task, TextInput

_NAMESPACE = UUID("5e0c4b0c-53f1-4e0b-9a0e-0f6f3d1f3c52")  # another one would orphan what is stored
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def content_id(content: str | TextInput | ImageHandle, *, task: Task, role: Role) -> str:
    """Return the id of a content: equal for equal texts, and for images of equal pixels whatever their files.

    Args:
        content: A text, or an image that is pinned.
        task: Of its vectors.
        role: Of the item.

    Raises:
        ImageError: The image cannot be decoded.
    """
    if isinstance(content, ImageHandle):
        return _hashed(b"image", task.encode(), role.encode(), *image_parts(content))
    text = content if isinstance(content, str) else str(content.text)
    return _hashed(b"text", task.encode(), role.encode(), _encoded(text))


def point_id(name: object) -> str:
    """Return the id that a caller means: a UUID as it is, in lower case, and any other name hashed into one.

    Raises:
        InputError: It is no string, or an empty one.
    """
    if not isinstance(name, str) or not name:
        raise InputError(
            f"an id must be a string that is not empty, got {name!r:.60}. Name each item by its place, such as "
            "'report.pdf#3'."
        )
    return name.lower() if _UUID.fullmatch(name) else _hashed(b"name", _encoded(name))


def check_ids(ids: object) -> None:
    """Raise `InputError` for one id where several are expected."""
    if isinstance(ids, str):
        raise InputError(f"ids must be an iterable of ids, got one, {ids!r:.60}. Write [id].")


def _hashed(*parts: bytes) -> str:
    return str(uuid5(_NAMESPACE, digest(parts).hex()))


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # names of files may have what is no character
