"""From items to points: an id, the caller's payload, the vectors, and requests that a server takes."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jina_vllm_integrations import images
from jina_vllm_integrations.encoding.requests import check_plural
from jina_vllm_integrations.encoding.results import both_of
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.skipping import KeptIds, OnError, Skipping
from jina_vllm_integrations.images.documents import DrawnPage
from jina_vllm_integrations.qdrant.companions import Companions
from jina_vllm_integrations.qdrant.ids import content_id, point_id
from jina_vllm_integrations.types import FloatArray, ImageInput, Item, TextInput, TokenVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.encoding.queries import QueryTokens
    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.types import Role, Task

MAX_FLOATS = 2**20
"""A server refuses a multi-vector of as many floats; the embedded Qdrant takes it, and could not move to a server."""

MAX_REQUEST_BYTES = 32_000_000
"""What one request may take as JSON. A server refuses bodies over 32 MiB; the rest is for what is not counted."""

# A float32 is sent as the shortest decimal of the float64 that equals it, -0.000012345677944924682 at the longest, with
# a comma, and a row of them in brackets. The largest multi-vector leaves room for a payload of megabytes.
_BYTES_PER_FLOAT = 26
_BYTES_PER_POINT = 200  # id, names of the vectors, brackets

_BY_CONTENT = object()  # where the caller gave no ids


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """One item as Qdrant keeps it.

    Attributes:
        id: A UUID.
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

    Holds the items in flight and the points of one request. Results must come back in the items' order.

    Args:
        payloads: One mapping an item; ``None`` for none.
        ids: One an item; ``None`` for those of the contents.
        task: Of the vectors.
        role: Of the items.
        limits: What an image may cost.
        on_error: What to do about a bad item.

    Attributes:
        ids: Of the items whose vectors came back.
    """

    def __init__(
        self,
        payloads: Iterable[Mapping[str, Any]] | None,
        ids: Iterable[str] | None,
        *,
        task: Task,
        role: Role,
        limits: images.ImageLimits,
        on_error: OnError,
    ) -> None:
        self._skipping = Skipping(on_error)
        self.ids = KeptIds(skipped=self._skipping.skipped)
        self._payloads = Companions(payloads, name="payload", remedy="Pass {} for an item without.")
        self._given_ids = Companions(ids, name="id", remedy="Leave ids out for those of the contents.")
        self._task = task
        self._role = role
        self._limits = limits
        # An item's own id, if it has one, for what is said of it; and what waits for its vectors, if it is good.
        self._waiting: deque[tuple[str | None, _Waiting | None]] = deque()
        self._n_results = 0
        self._request: dict[str, Point] = {}
        self._n_bytes = 0

    def admitted(self, items: Iterable[Item | InputError]) -> Iterator[Item | InputError]:
        """Return the items for the encoder; in the place of a bad one, its error.

        Raises:
            ItemTypeError: One item instead of several.
            InputError: The payloads or the ids are not as many as the items.
        """
        check_plural(items)
        self._payloads.check_number(items)
        self._given_ids.check_number(items)
        return self._admit_each(items)

    def admitted_async(
        self, items: Iterable[Item | InputError] | AsyncIterable[Item | InputError]
    ) -> Iterator[Item | InputError] | AsyncIterator[Item | InputError]:
        """Do as `admitted`. Items of an asynchronous iterable are read in worker threads."""
        return self._admit_each_async(items) if isinstance(items, AsyncIterable) else self.admitted(items)

    def add(self, result: Result) -> Sequence[Point]:
        """Take what came of the next item.

        Returns:
            The points before it where a request is full, otherwise none.

        Raises:
            InputError: It is bad, or has more floats than a server takes, and was not to be skipped.
        """
        name, waiting = self._waiting.popleft()
        index, self._n_results = self._n_results, self._n_results + 1
        try:
            dense, vectors = _vectors_of(result, index)
        except InputError as error:
            self._skipping.leave_out(error, name=name)
            return []
        assert waiting is not None  # or the result had been its error
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

    def _admit_each(self, items: Iterable[Item | InputError]) -> Iterator[Item | InputError]:
        for item in items:
            yield self._admit(item)
        self._check_end()

    async def _admit_each_async(self, items: AsyncIterable[Item | InputError]) -> AsyncIterator[Item | InputError]:
        async for item in items:
            yield await asyncio.to_thread(self._admit, item)
        self._check_end()

    def _admit(self, item: Item | InputError) -> Item | InputError:
        payload, given_id = self._payloads.take({}), self._given_ids.take(_BY_CONTENT)
        name = given_id if isinstance(given_id, str) and given_id else None
        try:
            content, waiting = self._checked(item, payload, given_id)
        except InputError as error:
            self._waiting.append((name, None))
            return error
        self._waiting.append((name, waiting))
        return _embeddable(content)

    def _checked(
        self, item: Item | InputError, payload: object, given_id: object
    ) -> tuple[str | TextInput | images.ImageHandle, _Waiting]:
        if isinstance(item, InputError):
            raise item
        checked = _checked_payload(payload)
        n_bytes = _BYTES_PER_POINT + _payload_bytes(checked)
        point = None if given_id is _BY_CONTENT else point_id(given_id)
        content = self._pinned(item)
        point = content_id(content, task=self._task, role=self._role) if point is None else point
        return content, _Waiting(id=point, payload=checked, n_bytes=n_bytes)

    def _pinned(self, item: Item) -> str | TextInput | images.ImageHandle:
        """Return what cannot change until it is embedded: a file, or its owner's next page, would be another image."""
        if isinstance(item, str | TextInput):
            return item
        return images.inspect(item.source if isinstance(item, ImageInput) else item, self._limits).pinned()

    def _check_end(self) -> None:
        self._payloads.check_end()
        self._given_ids.check_end()


def _vectors_of(result: Result, index: int) -> tuple[FloatArray, FloatArray]:
    """Return an item's dense vector and token vectors, or raise its error."""
    if isinstance(result, InputError):
        raise result
    dense, tokens = both_of(result)
    return dense, floats_of(tokens, index=index)


def floats_of(tokens: QueryTokens, *, index: int | None) -> FloatArray:
    """Return an item's token vectors, or a query's. *Shape:* ``(n_tokens, token_dimensions)``, float32.

    Raises:
        InputError: They are more than a Qdrant server takes.
    """
    vectors = np.asarray(tokens.vectors if isinstance(tokens, TokenVectors) else tokens, dtype=np.float32)
    if vectors.size >= MAX_FLOATS:
        n_tokens, size = vectors.shape
        raise InputError(
            f"an item in Qdrant must have fewer than {MAX_FLOATS:,} floats, {(MAX_FLOATS - 1) // size:,} token vectors "
            f"of {size}; this one has {n_tokens:,}. Split a text, or give an image fewer pixels.",
            index=index,
        )
    return vectors


def _embeddable(content: str | TextInput | images.ImageHandle) -> Item:
    if isinstance(content, str | TextInput):
        return content
    if isinstance(content.origin, DrawnPage):
        return content.origin.source
    assert isinstance(content.origin, bytes | Image.Image)
    return ImageInput(content.origin)


def _checked_payload(payload: object) -> dict[str, Any]:
    if not isinstance(payload, Mapping):
        raise InputError(f"a payload must be a mapping, got {payload!r:.60}. Pass {{}} for an item without.")
    return dict(payload)


def _payload_bytes(payload: dict[str, Any]) -> int:
    """How many bytes it has as JSON, at most: what is escaped here is sent as it is."""
    try:
        return len(json.dumps(payload, default=str))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a payload must be what JSON can hold, and {payload!r:.60} is not: {error}. Convert it."
        ) from error
