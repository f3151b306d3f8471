"""Filling a store: what is missing is computed while more items are looked up, and written a few at a time."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.progress import progress_bar
from jina_vllm_integrations.token_store.keys import pinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tqdm import tqdm

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.token_store.store import TokenStore
    from jina_vllm_integrations.types import Embedding, Item, Request, Role, TokenVectors

# How many items are written at once: few, because they are lost with the process, and enough to share a flush.
_LOT = 32


@dataclass(frozen=True, kw_only=True)
class Warmed:
    """What `TokenStore.warm` did.

    Attributes:
        n_encoded: Items that were computed and stored.
        n_stored: Items that were there already, repetitions included.
    """

    n_encoded: int
    n_stored: int


class _Missing(NamedTuple):
    """An item that is being computed, or whose error waits for its turn."""

    position: int
    key: bytes


class Warming:
    """One run of `TokenStore.warm`.

    Args:
        store: What is filled.
        encoder: Who computes.
        role: Of all items.
    """

    def __init__(self, store: TokenStore, encoder: JinaEncoder, *, role: Role) -> None:
        self._store = store
        self._encoder = encoder
        self._role = role
        self._waiting: deque[_Missing] = deque()
        self._computed: list[tuple[_Missing, TokenVectors]] = []
        self._pending: set[bytes] = set()
        self._n_stored = 0
        self._n_encoded = 0

    def run(self, items: Iterable[Item], *, progress: bool) -> Warmed:
        """Compute and keep what is missing. See `TokenStore.warm`."""
        with progress_bar(items, "storing", shown=progress) as bar:
            requests = self._missing(self._encoder.stream_requests(items, role=self._role, output="tokens"), bar)
            with closing(self._encoder.compute(requests)) as embeddings:
                try:
                    while embedding := self._next(embeddings):
                        self._take(embedding, bar)
                finally:
                    self._keep(bar)
        return Warmed(n_encoded=self._n_encoded, n_stored=self._n_stored)

    def _missing(self, requests: Iterator[Request | Exception], bar: tqdm[Any]) -> Iterator[Request | Exception]:
        for position, given in enumerate(requests):
            key, request = self._looked_up(given)
            if key in self._pending or (key and self._store.get_many([key]) != [None]):
                self._n_stored += 1
                bar.update()
                continue
            self._waiting.append(_Missing(position, key))
            if key:
                self._pending.add(key)
            yield request

    def _looked_up(self, request: Request | Exception) -> tuple[bytes, Request | Exception]:
        """Return a request's key and its pinned form. One that is an error, or becomes one, has no key."""
        if isinstance(request, Exception):
            return b"", request
        try:
            request = pinned(request)
            (key,) = self._store.keys(self._encoder, [request])
        except InputError as error:
            return b"", error
        return key, request

    def _next(self, embeddings: Iterator[Embedding]) -> Embedding | None:
        try:
            return next(embeddings, None)
        except InputError as error:
            error.index = self._waiting[0].position
            raise

    def _take(self, embedding: Embedding, bar: tqdm[Any]) -> None:
        assert embedding.tokens is not None
        self._computed.append((self._waiting.popleft(), embedding.tokens))
        if len(self._computed) == _LOT:
            self._keep(bar)

    def _keep(self, bar: tqdm[Any]) -> None:
        computed, self._computed = self._computed, []
        try:
            self._store.put_many([(missing.key, tokens) for missing, tokens in computed])
        except InputError as error:
            if error.index is not None:
                before, (bad, _) = computed[: error.index], computed[error.index]
                error.index = bad.position
                self._store.put_many([(missing.key, tokens) for missing, tokens in before])
            raise
        self._pending.difference_update(missing.key for missing, _ in computed)
        self._n_encoded += len(computed)
        bar.update(len(computed))
