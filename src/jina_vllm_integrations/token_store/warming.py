"""Filling a store: what is missing is computed while more items are looked up, and written a few at a time."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.progress import progress_bar
from jina_vllm_integrations.token_store.keys import pinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tqdm import tqdm

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.foundation.skipping import Skipped, Skipping
    from jina_vllm_integrations.types import Item, Request, Role, TokenVectors

# How many items are written at once: few, because they are lost with the process, and enough to share a flush.
_LOT = 32


class Store(Protocol):
    """What is filled: a `TokenStore`, of which no more is asked."""

    def keys(self, encoder: JinaEncoder, requests: Sequence[Request]) -> list[bytes]:
        """See `TokenStore.keys`."""

    def get_many(self, keys: Iterable[bytes]) -> list[TokenVectors | None]:
        """See `TokenStore.get_many`."""

    def put_many(self, entries: Iterable[tuple[bytes, TokenVectors]]) -> list[TokenVectors]:
        """See `TokenStore.put_many`."""


@dataclass(frozen=True, kw_only=True)
class Warmed:
    """What `TokenStore.warm` did.

    Attributes:
        n_encoded: Items that were computed and stored.
        n_stored: Items that were there already, repetitions included.
        skipped: Items that were left out, because that was chosen, repetitions included.
    """

    n_encoded: int
    n_stored: int
    skipped: tuple[Skipped, ...] = ()


class _Missing(NamedTuple):
    """An item that is being computed, or whose error waits for its turn; an error has no key."""

    position: int
    key: bytes


class Warming:
    """One run of `TokenStore.warm`.

    Args:
        store: What is filled.
        encoder: Who computes.
        role: Of all items.
        skipping: What to do about bad ones.
    """

    def __init__(self, store: Store, encoder: JinaEncoder, *, role: Role, skipping: Skipping) -> None:
        self._store = store
        self._encoder = encoder
        self._role = role
        self._skipping = skipping
        self._waiting: deque[_Missing] = deque()
        self._computed: list[tuple[_Missing, TokenVectors]] = []
        # The repetitions of what is being computed, which are stored when it is.
        self._repetitions: dict[bytes, list[int]] = {}
        self._n_stored = 0
        self._n_encoded = 0

    def run(self, items: Iterable[Item], *, progress: bool) -> Warmed:
        """Compute and keep what is missing. See `TokenStore.warm`."""
        with progress_bar(items, "storing", shown=progress) as bar:
            requests = self._missing(self._encoder.stream_requests(items, role=self._role, output="tokens"), bar)
            with closing(self._encoder.answers(requests)) as results:
                try:
                    for result in results:
                        self._take(result, bar)
                finally:
                    self._keep(bar)
        skipped = sorted(self._skipping.skipped, key=attrgetter("index"))
        return Warmed(n_encoded=self._n_encoded, n_stored=self._n_stored, skipped=tuple(skipped))

    def _missing(self, requests: Iterator[Request | Exception], bar: tqdm[Any]) -> Iterator[Request | Exception]:
        for position, given in enumerate(requests):
            key, request = self._looked_up(given)
            if key in self._repetitions:
                self._repetitions[key].append(position)
            elif key and self._store.get_many([key]) != [None]:
                self._n_stored += 1
                bar.update()
            else:
                self._waiting.append(_Missing(position, key))
                if key:
                    self._repetitions[key] = []
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

    def _take(self, result: Result, bar: tqdm[Any]) -> None:
        missing = self._waiting.popleft()
        if isinstance(result, InputError):
            self._leave_out(missing, result, bar)
            return
        assert result.tokens is not None
        self._computed.append((missing, result.tokens))
        if len(self._computed) == _LOT:
            self._keep(bar)

    def _keep(self, bar: tqdm[Any]) -> None:
        computed, self._computed = self._computed, []
        try:
            self._put(computed, bar)
        except InputError as error:  # it names one, and none was kept
            if error.index is None:
                raise
            (missing, _), after = computed[error.index], computed[error.index + 1 :]
            self._put(computed[: error.index], bar)
            self._leave_out(missing, error, bar)
            self._computed = after
            self._keep(bar)

    def _put(self, computed: Sequence[tuple[_Missing, TokenVectors]], bar: tqdm[Any]) -> None:
        self._store.put_many([(missing.key, tokens) for missing, tokens in computed])
        n_repeated = sum(len(self._repetitions.pop(missing.key)) for missing, _ in computed)
        self._n_stored += n_repeated
        self._n_encoded += len(computed)
        bar.update(len(computed) + n_repeated)

    def _leave_out(self, missing: _Missing, error: InputError, bar: tqdm[Any]) -> None:
        """Leave an item out, and all that are equal, or raise."""
        for position in [missing.position, *self._repetitions.pop(missing.key, [])]:
            of_this = copy(error)
            of_this.index = position
            self._skipping.leave_out(of_this)
            bar.update()
