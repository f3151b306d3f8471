"""Candidates of a search, ranked by late interaction."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.encoding.requests import check_plural
from jina_vllm_integrations.errors import naming, renaming
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.scoring import score
from jina_vllm_integrations.scoring.maxsim import Normalize, ranking
from jina_vllm_integrations.token_store.keys import pinned_requests, source_key
from jina_vllm_integrations.types import Ranked, TokenVectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Embedding, Item, Request


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """What one call computes.

    Attributes:
        query: The query's vectors where they were given.
        keys: Of each candidate; equal candidates have equal keys.
        positions: Of the first candidate with each key.
        found: What the store has.
        requests: The query's unless it was computed before, then those of the keys that are missing.
        missing: These keys.
    """

    query: TokenVectors | None
    keys: list[bytes]
    positions: dict[bytes, int]
    found: dict[bytes, TokenVectors]
    requests: list[Request]
    missing: list[bytes]

    @property
    def asked_for(self) -> list[int | None]:
        """Which candidate each request is about; ``None`` for the query."""
        asked: list[int | None] = [] if self.query is not None else [None]
        return asked + [self.positions[key] for key in self.missing]


class LateInteractionReranker:
    """Ranks texts and images by MaxSim of their token vectors with a query's.

    What the store has is read, what is missing is computed in one batch with the query, and kept. With everything
    stored, only the query is computed. Scores are those of the vectors as they are kept, whether they were read or
    computed just now, so the second call ranks exactly as the first. Without a store every candidate is computed.

    May be used by many threads and coroutines at once.

    Args:
        encoder: Computes the vectors, with a checkpoint that has a multi-vector head.
        store: Keeps the candidates' vectors. The caller opened it and closes it.
        normalize: ``"sum"``, or ``"mean"`` over the query's tokens, which is comparable across queries.

    Raises:
        OptionError: There is no such normalisation.

    Example:
        >>> with TokenStore("vectors") as store:
        ...     reranker = LateInteractionReranker(encoder, store=store)
        ...     best = reranker.rerank("Where is the invoice?", [Path("page-1.png"), "a text"], top_n=1)
        >>> best
        [Ranked(index=0, score=13.4, stored=False)]
    """

    def __init__(self, encoder: JinaEncoder, store: TokenStore | None = None, *, normalize: Normalize = "sum") -> None:
        check_choice("normalize", normalize, Normalize)
        self.encoder = encoder
        self.store = store
        self._normalize = normalize

    def rerank(
        self, query: Item | TokenVectors, candidates: Iterable[Item], *, top_n: int | None = None
    ) -> list[Ranked]:
        """Rank candidates.

        Args:
            query: A text or an image, or its token vectors where a first stage has computed them.
            candidates: Texts, images, or a mix of both. Equal ones are computed once.
            top_n: How many to return at most; ``None`` for all.

        Returns:
            The best first; of equals, the earlier first. ``index`` is the position in ``candidates``.

        Raises:
            InputError: A candidate cannot be embedded, or its vectors are not finite; ``index`` names it, and is
                ``None`` for the query.
            OptionError: ``top_n`` is not a whole number from 1.
            CheckpointError: The checkpoint has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be read or written.
        """
        items = _checked(candidates, top_n)
        if not items:
            return []
        plan = self._plan(query, items)
        with renaming(plan.asked_for):
            embeddings = list(self.encoder.compute(plan.requests))
        return self._ranked(plan, embeddings, top_n)

    async def arerank(
        self, query: Item | TokenVectors, candidates: Iterable[Item], *, top_n: int | None = None
    ) -> list[Ranked]:
        """Do as `rerank`, without blocking the event loop. Cancelling stops the work."""
        items = await asyncio.to_thread(_checked, candidates, top_n)
        if not items:
            return []
        plan = await asyncio.to_thread(self._plan, query, items)
        with renaming(plan.asked_for):
            embeddings = await self.encoder.acompute(plan.requests)
        return await asyncio.to_thread(self._ranked, plan, embeddings, top_n)

    def _plan(self, query: Item | TokenVectors, candidates: list[Item]) -> _Plan:
        asked = [] if isinstance(query, TokenVectors) else self._asked(query)
        requests = pinned_requests(self.encoder, candidates, role="document")
        keys = self._keys(requests)
        positions = {key: index for index, key in reversed(list(enumerate(keys)))}
        found = self._found(list(positions))
        missing = [key for key in positions if key not in found]
        return _Plan(
            query=query if isinstance(query, TokenVectors) else None,
            keys=keys,
            positions=positions,
            found=found,
            requests=[*asked, *(requests[positions[key]] for key in missing)],
            missing=missing,
        )

    def _asked(self, query: Item) -> list[Request]:
        with naming(None):
            return self.encoder.requests([query], role="query", output="tokens")

    def _keys(self, requests: list[Request]) -> list[bytes]:
        if self.store is None:
            return [source_key(request) for request in requests]
        return self.store.keys(self.encoder, requests)

    def _found(self, keys: list[bytes]) -> dict[bytes, TokenVectors]:
        if self.store is None:
            return {}
        found = zip(keys, self.store.get_many(keys), strict=True)
        return {key: tokens for key, tokens in found if tokens is not None}

    def _ranked(self, plan: _Plan, embeddings: Sequence[Embedding], top_n: int | None) -> list[Ranked]:
        computed = [_tokens(embedding) for embedding in embeddings]
        query = computed.pop(0) if plan.query is None else plan.query
        with renaming([plan.positions[key] for key in plan.missing]):
            kept = self._kept(plan.missing, computed)
        vectors = {**plan.found, **dict(zip(plan.missing, kept, strict=True))}
        with renaming(list(plan.positions.values())):
            scores = score(query, [vectors[key] for key in plan.positions], normalize=self._normalize)
        score_of = dict(zip(plan.positions, scores, strict=True))
        all_scores = np.array([score_of[key] for key in plan.keys])
        return [
            Ranked(index=index, score=float(all_scores[index]), stored=plan.keys[index] in plan.found)
            for index in ranking(all_scores)[:top_n]
        ]

    def _kept(self, keys: list[bytes], computed: list[TokenVectors]) -> list[TokenVectors]:
        """Keep vectors, and return them as they are kept."""
        if self.store is None:
            return computed
        if self.store.readonly:
            return [self.store.as_kept(tokens, index=index) for index, tokens in enumerate(computed)]
        return self.store.put_many(list(zip(keys, computed, strict=True)))


def _checked(candidates: Iterable[Item], top_n: int | None) -> list[Item]:
    check_plural(candidates)
    if top_n is not None:
        check_count("top_n", top_n)
    return list(candidates)


def _tokens(embedding: Embedding) -> TokenVectors:
    assert embedding.tokens is not None
    return embedding.tokens
