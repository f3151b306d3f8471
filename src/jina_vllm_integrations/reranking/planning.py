"""What a call of the reranker finds, and what it has to compute."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.encoding.queries import items_of_query, naming_half, tokens_of_query
from jina_vllm_integrations.encoding.results import tokens_of
from jina_vllm_integrations.errors import InputError, naming, renaming
from jina_vllm_integrations.token_store.keys import Known, each_pinned, source_key
from jina_vllm_integrations.types import TokenVectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.queries import QueryTokens
    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.foundation.skipping import Skipping
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Item, Query, Request


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What one call computes.

    Attributes:
        query: What was asked, or its vectors where they were given.
        n_asked: How many of the requests are the query's: none where its vectors were given, two of a text and an
            image.
        positions: Of the good candidates with each key; equal candidates have equal keys.
        found: What the store has.
        requests: The query's, then those of the keys that are missing.
        missing: These keys.
        skipping: What is done about bad candidates.
    """

    query: Query | QueryTokens
    n_asked: int
    positions: dict[bytes, list[int]]
    found: dict[bytes, TokenVectors]
    requests: list[Request]
    missing: list[bytes]
    skipping: Skipping

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let an error about one of the requests be about the caller's candidate, or about the query or its half."""
        asked: list[int | None] = [None] * self.n_asked
        with renaming(asked + [self.positions[key][0] for key in self.missing]), naming_half(self.query):
            yield

    def asked(self, answers: Sequence[Result]) -> QueryTokens | None:
        """Return what candidates are ranked by, of the answers to the query's requests; ``None`` where none are left.

        Raises:
            InputError: The query is bad, without which nothing can be ranked.
        """
        if isinstance(self.query, TokenVectors | np.ndarray):
            return self.query
        asked: list[TokenVectors] = []
        for answer in answers:
            if isinstance(answer, InputError):
                with self.naming(), naming(len(asked)):
                    raise answer
            asked.append(tokens_of(answer))
        return tokens_of_query(asked) if asked else None

    def leave_out_one(self, error: InputError, keys: Sequence[bytes]) -> bytes:
        """Do as `leave_out` with the one of some keys that an error names, and return it."""
        if error.index is None:  # the query
            raise error
        key = keys[error.index]
        self.leave_out(error, key)
        return key

    def leave_out(self, error: InputError, key: bytes) -> None:
        """Leave out all candidates with a key, or raise the error about the first."""
        for position in self.positions.pop(key):
            error.index = position
            self.skipping.leave_out(error)
            error = copy(error)


class Planner:
    """Tells which candidates a store has, and which are to be computed.

    Args:
        encoder: Who computes.
        store: Keeps the candidates' vectors; ``None`` to compute them all.
    """

    def __init__(self, encoder: JinaEncoder, store: TokenStore | None) -> None:
        self._encoder = encoder
        self._store = store

    def plan(self, query: Query | QueryTokens, candidates: list[Item | Known | InputError], skipping: Skipping) -> Plan:
        """Look candidates up, and say what is to be computed.

        Raises:
            InputError: The query is bad; or a candidate is, ``index`` names it, and it is not to be skipped.
            CheckpointError: The checkpoint has no multi-vector head.
            StoreError: The store cannot be read.
        """
        asked = [] if isinstance(query, TokenVectors | np.ndarray) else self._asked(query)
        keys, found = self._known(candidates)
        requests = self._requests(_unknown(candidates, keys), skipping)
        keys |= self._keys(requests, skipping)
        positions: dict[bytes, list[int]] = {}
        for position in sorted(keys):
            positions.setdefault(keys[position], []).append(position)
        found |= self._found([key for key in positions if key not in found])
        missing = [key for key in positions if key not in found]
        return Plan(
            query=query,
            n_asked=len(asked) if positions else 0,
            positions=positions,
            found=found,
            requests=[*asked, *(requests[positions[key][0]] for key in missing)] if positions else [],
            missing=missing,
            skipping=skipping,
        )

    def _asked(self, query: Query) -> list[Request]:
        with naming(None), naming_half(query):
            return self._encoder.requests(items_of_query(query), role="query", output="tokens")

    def _known(self, candidates: list[Item | Known | InputError]) -> tuple[dict[int, bytes], dict[bytes, TokenVectors]]:
        """Return the keys of candidates whose vectors are found without looking at them, and these vectors."""
        known = {position: each.content for position, each in enumerate(candidates) if isinstance(each, Known)}
        if self._store is None or not known:
            return {}, {}
        keys = dict(zip(known, self._store.keys_of(self._encoder, known.values()), strict=True))
        found = self._found(list(dict.fromkeys(keys.values())))
        return {position: key for position, key in keys.items() if key in found}, found

    def _requests(self, candidates: dict[int, Item | InputError], skipping: Skipping) -> dict[int, Request]:
        """Return the pinned requests of good candidates by their positions. All are checked before one is read."""
        requests = self._encoder.stream_requests(candidates.values(), role="document", output="tokens")
        checked = _good(zip(candidates, requests, strict=True), skipping)
        return _good(zip(checked, each_pinned(list(checked.values())), strict=True), skipping)

    def _keys(self, requests: dict[int, Request], skipping: Skipping) -> dict[int, bytes]:
        if self._store is None:
            return {position: source_key(request) for position, request in requests.items()}
        good = dict(requests)
        while True:
            try:
                return dict(zip(good, self._store.keys(self._encoder, list(good.values())), strict=True))
            except InputError as error:
                if error.index is None:
                    raise
                error.index = list(good)[error.index]
                skipping.leave_out(error)
                del good[error.index]

    def _found(self, keys: list[bytes]) -> dict[bytes, TokenVectors]:
        if self._store is None:
            return {}
        found = zip(keys, self._store.get_many(keys), strict=True)
        return {key: tokens for key, tokens in found if tokens is not None}


def _unknown(candidates: list[Item | Known | InputError], keys: dict[int, bytes]) -> dict[int, Item | InputError]:
    """Return the items that must be looked at, by their positions."""
    return {
        position: each.item if isinstance(each, Known) else each
        for position, each in enumerate(candidates)
        if position not in keys
    }


def _good(requests: Iterable[tuple[int, Request | Exception]], skipping: Skipping) -> dict[int, Request]:
    """Return requests by their positions, without those that are errors."""
    good: dict[int, Request] = {}
    for position, request in requests:
        if isinstance(request, InputError):
            request.index = position
            skipping.leave_out(request)
        elif isinstance(request, Exception):
            raise request
        else:
            good[position] = request
    return good
