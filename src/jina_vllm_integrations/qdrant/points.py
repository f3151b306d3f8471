"""From items to points: a stable id, the caller's payload, the vectors, and requests that a server takes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np

from jina_vllm_integrations import images
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.images.addresses import ImageURL
from jina_vllm_integrations.requests import check_plural
from jina_vllm_integrations.types import FloatArray, ImageInput, Item, Role, Task, TextInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_vllm_integrations.types import TokenVectors

MAX_FLOATS = 2**20
"""A server refuses a multi-vector of as many floats; the embedded Qdrant takes it, and could not move to a server."""

MAX_REQUEST_BYTES = 32_000_000
"""What one request may take as JSON. A server refuses bodies over 32 MiB; the rest is for what is not counted."""

# A float32 is sent as the shortest decimal of the float64 that equals it, -0.000012345677944924682 at the longest, with
# a comma, and a row of them in brackets. The largest multi-vector leaves room for a payload of megabytes.
_BYTES_PER_FLOAT = 26
_BYTES_PER_POINT = 200  # id, names of the vectors, brackets

_IDS = UUID("5e0c4b0c-53f1-4e0b-9a0e-0f6f3d1f3c52")  # the namespace of all ids; another one would orphan what is stored


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One item as Qdrant keeps it.

    Attributes:
        id: Of the item's content.
        dense: *Shape:* ``(dimensions,)``, float32.
        tokens: *Shape:* ``(n_tokens, token_dimensions)``, float32.
        payload: The caller's own.
        n_bytes: What it takes as JSON, at most.
    """

    id: str
    dense: FloatArray
    tokens: FloatArray
    payload: dict[str, Any]
    n_bytes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    """An item whose vectors are being computed."""

    id: str
    payload: dict[str, Any]
    n_bytes: int


class PointStream:
    """Gives each item its id and payload on the way to the encoder, and its vectors on the way back.

    Holds the items in flight and the points of one request. The vectors must come back in the items' order.

    Args:
        payloads: One mapping an item; ``None`` for none.
        identify: See `identified`.

    Attributes:
        ids: Of the items whose vectors came back.
    """

    def __init__(
        self, payloads: Iterable[Mapping[str, Any]] | None, *, identify: Callable[[Item], tuple[str, Item]]
    ) -> None:
        self.ids: list[str] = []
        self._n_payloads = len(payloads) if isinstance(payloads, Sized) else None
        self._payloads = None if payloads is None else iter(payloads)
        self._identify = identify
        self._waiting: deque[_Waiting] = deque()
        self._request: dict[str, Point] = {}
        self._n_bytes = 0

    def admitted(self, items: Iterable[Item]) -> Iterator[Item]:
        """Return the items for the encoder.

        Raises:
            ItemTypeError: One item instead of several.
            InputError: The payloads are not as many as the items.
        """
        check_plural(items)
        if self._n_payloads is not None and isinstance(items, Sized) and len(items) != self._n_payloads:
            raise InputError(
                f"there must be one payload an item, got {self._n_payloads} for {len(items)}. "
                "Pass {} for an item without."
            )
        return self._admit_each(items)

    def admitted_async(self, items: Iterable[Item] | AsyncIterable[Item]) -> Iterator[Item] | AsyncIterator[Item]:
        """Do as `admitted`. Items of an asynchronous iterable are read in worker threads."""
        return self._admit_each_async(items) if isinstance(items, AsyncIterable) else self.admitted(items)

    def add(self, dense: FloatArray, tokens: TokenVectors) -> Sequence[Point]:
        """Take the vectors of the next item.

        Returns:
            The points before it where a request is full, otherwise none.

        Raises:
            InputError: It has more floats than a server takes.
        """
        vectors = floats_of(tokens, index=len(self.ids))
        waiting = self._waiting.popleft()
        n_bytes = waiting.n_bytes + (dense.size + vectors.size) * _BYTES_PER_FLOAT
        full = self.rest() if self._n_bytes + n_bytes > MAX_REQUEST_BYTES else []
        # Of equal items in a request the last one counts, as it would in two.
        self._request[waiting.id] = Point(
            id=waiting.id, dense=dense, tokens=vectors, payload=waiting.payload, n_bytes=n_bytes
        )
        self._n_bytes += n_bytes
        self.ids.append(waiting.id)
        return full

    def rest(self) -> Sequence[Point]:
        """Return the points that `add` has not returned yet."""
        points = list(self._request.values())
        self._request.clear()
        self._n_bytes = 0
        return points

    def _admit_each(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            yield self._admit(item)
        self._check_payloads_end()

    async def _admit_each_async(self, items: AsyncIterable[Item]) -> AsyncIterator[Item]:
        async for item in items:
            yield await asyncio.to_thread(self._admit, item)
        self._check_payloads_end()

    def _admit(self, item: Item) -> Item:
        payload = {} if self._payloads is None else _checked_payload(next(self._payloads, None))
        n_bytes = _BYTES_PER_POINT + _payload_bytes(payload)
        point_id, item = self._identify(item)
        self._waiting.append(_Waiting(id=point_id, payload=payload, n_bytes=n_bytes))
        return item

    def _check_payloads_end(self) -> None:
        if self._payloads is not None and next(self._payloads, None) is not None:
            raise InputError("there must be one payload an item, and there are more payloads. Leave them out.")


def identified(item: Item, *, task: Task, role: Role, limits: images.ImageLimits) -> tuple[str, Item]:
    """Return a stable id of an item's content, and the item in a form that can be read again.

    Equal texts, and images of equal pixels whatever their files, have equal ids for one task and role. A file may
    allow only one reading, and a URL may give another image next time: what was read here is what is embedded.

    Raises:
        ImageError: The image cannot be read.
        ItemTypeError: Neither text nor image.
    """
    if isinstance(item, str | TextInput):
        text = item if isinstance(item, str) else str(item.text)
        return _content_id("text", task, role, text.encode(errors="surrogatepass")), item
    handle = images.inspect(item.source if isinstance(item, ImageInput) else item, limits)
    page = handle.load()
    content_id = _content_id("image {}x{}".format(*page.size), task, role, page.tobytes())
    return content_id, ImageInput(page if isinstance(handle.origin, ImageURL) else handle.origin)


def floats_of(tokens: TokenVectors, *, index: int | None) -> FloatArray:
    """Return an item's token vectors. *Shape:* ``(n_tokens, token_dimensions)``, float32.

    Raises:
        InputError: They are more than a Qdrant server takes.
    """
    vectors = np.asarray(tokens.vectors, dtype=np.float32)
    if vectors.size >= MAX_FLOATS:
        n_tokens, size = vectors.shape
        raise InputError(
            f"an item in Qdrant must have fewer than {MAX_FLOATS:,} floats, {(MAX_FLOATS - 1) // size:,} token vectors "
            f"of {size}; this one has {n_tokens:,}. Split a text, or give an image fewer pixels.",
            index=index,
        )
    return vectors


def _content_id(kind: str, task: Task, role: Role, content: bytes) -> str:
    digest = hashlib.sha256(f"{kind}\n{task}\n{role}\n".encode())
    digest.update(content)
    return str(uuid5(_IDS, digest.hexdigest()))


def _checked_payload(payload: object) -> dict[str, Any]:
    if not isinstance(payload, Mapping):
        raise InputError(
            f"there must be one payload an item, a mapping, and this one has {payload!r:.60}. "
            "Pass {} for an item without."
        )
    return dict(payload)


def _payload_bytes(payload: dict[str, Any]) -> int:
    """How many bytes it has as JSON, at most: what is escaped here is sent as it is."""
    try:
        return len(json.dumps(payload, default=str))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a payload must be what JSON can hold, and {payload!r:.60} is not: {error}. Convert it."
        ) from error
