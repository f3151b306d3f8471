"""What of documents on their way into an index is known, and need not be computed."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jina_vllm_integrations.adapters.dense_records import to_vectors
from jina_vllm_integrations.encoding.in_flight import next_lot
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.token_store.notes import Notes
from jina_vllm_integrations.types import Embedding, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jina_vllm_integrations.adapters.dense_cache import DenseCache
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.token_store import TokenStore

# Their images are in memory, encoded.
_LOT = 64


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """A document, and what is known of it.

    Attributes:
        request: Pinned; or why there is none.
        content: Its `content_key`; ``None`` where there is no cache.
        key: What its dense vector is kept under, likewise.
        dense: That vector as it is kept; ``None`` where the cache lacks it.
        computed: Whether anything is left to compute.
    """

    request: Request | InputError
    content: bytes | None = None
    key: bytes | None = None
    dense: bytes | None = None
    computed: bool = True

    @property
    def asked(self) -> Request | Embedding | InputError:
        """What an encoder is asked for, or answers without work."""
        if self.dense is None or isinstance(self.request, InputError):
            return self.request
        if self.computed:
            return replace(self.request, output="tokens")
        return Embedding(dense=to_vectors([self.dense])[0])


class Recall:
    """Looks documents up in a cache of dense vectors, and in the store of their token vectors.

    A document need not be computed if both are there, or the dense one where there is no store.

    Args:
        encoder: Who computes what is not there.
        cache: Has dense vectors; without one nothing is looked up.
        store: Keeps token vectors; ``None`` where none are wanted.
    """

    def __init__(self, encoder: JinaEncoder, cache: DenseCache | None, store: TokenStore | None) -> None:
        self._encoder = encoder
        self._cache = cache
        self._store = store
        # On encoded images, for the cache; where there is a token store, that has them.
        self._notes: dict[bytes, bytes] = {}

    def each(self, requests: Iterator[Request | InputError]) -> Iterator[Recalled]:
        """Yield documents with what is known of them, looked up a lot at a time.

        Args:
            requests: Pinned.

        Raises:
            Exception: The cache's own, or a `StoreError`.
        """
        if self._cache is None:
            yield from (Recalled(request=request) for request in requests)
            return
        while some := next_lot(requests, _LOT):
            notes = self._cache.get(self._note_keys(some))
            lot = self._keyed(self._cache, some, notes)
            yield from self._recalled(lot, self._cache.get(lot.keys.values()))

    async def lot(self, requests: Sequence[Request | InputError]) -> list[Recalled]:
        """Do as `each` with one lot, without blocking the event loop."""
        if self._cache is None:
            return [Recalled(request=request) for request in requests]
        notes = await self._cache.aget(await asyncio.to_thread(self._note_keys, requests))
        lot = await asyncio.to_thread(self._keyed, self._cache, requests, notes)
        return await asyncio.to_thread(self._recalled, lot, await self._cache.aget(lot.keys.values()))

    def new_notes(self) -> dict[bytes, bytes]:
        """Return the notes that the cache does not have yet, once."""
        notes, self._notes = self._notes, {}
        return notes

    def _note_keys(self, requests: Sequence[Request | InputError]) -> list[bytes]:
        if self._store is not None:
            return []
        return Notes([request for request in requests if isinstance(request, Request)]).keys

    def _keyed(
        self, cache: DenseCache, requests: Sequence[Request | InputError], notes: Mapping[bytes, bytes]
    ) -> _Keyed:
        """Return the keys of a lot. An image is decoded unless it was noted what it shows."""
        if self._store is None:
            good, contents = _contents(requests, lambda some: self._noted(some, notes))
        else:
            good, contents = _contents(requests, self._store.contents)
        return _Keyed(
            requests=good,
            contents=contents,
            keys=dict(zip(contents, cache.keys(contents.values()), strict=True)),
        )

    def _noted(self, requests: Sequence[Request], known: Mapping[bytes, bytes]) -> list[bytes]:
        notes = Notes(requests)
        try:
            return list(notes.contents(ChainMap(dict(known), self._notes)))
        finally:  # also of those before a bad image, which is left out when the others are asked for again
            self._notes |= notes.new

    def _recalled(self, lot: _Keyed, found: Mapping[bytes, bytes]) -> list[Recalled]:
        dense = {position: found[key] for position, key in lot.keys.items() if key in found}
        kept = self._with_tokens({position: lot.contents[position] for position in dense})
        return [
            Recalled(
                request=request,
                content=lot.contents.get(position),
                key=lot.keys.get(position),
                dense=dense.get(position),
                computed=position not in kept,
            )
            for position, request in enumerate(lot.requests)
        ]

    def _with_tokens(self, contents: Mapping[int, bytes]) -> set[int]:
        """Return the positions of contents whose token vectors are kept, or not wanted."""
        if self._store is None:
            return set(contents)
        tokens = self._store.get_many(self._store.keys_of(self._encoder, contents.values()))
        return {position for position, each in zip(contents, tokens, strict=True) if each is not None}


@dataclass(frozen=True, kw_only=True)
class _Keyed:
    """A lot, with contents and keys of the good documents by their positions."""

    requests: list[Request | InputError]
    contents: dict[int, bytes]
    keys: dict[int, bytes]


def _contents(
    requests: Sequence[Request | InputError], contents_of: Callable[[Sequence[Request]], list[bytes]]
) -> tuple[list[Request | InputError], dict[int, bytes]]:
    """Return the contents of good requests by their positions, and all, with the errors of bad images in their places.

    An image shows only when it is decoded whether it can be.
    """
    checked = list(requests)
    while True:
        good = {position: each for position, each in enumerate(checked) if isinstance(each, Request)}
        try:
            return checked, dict(zip(good, contents_of(list(good.values())), strict=True))
        except InputError as error:
            if error.index is None:
                raise
            checked[list(good)[error.index]] = error
