"""The reranker: what a store has is read, what is missing is computed, and all is scored."""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.encoding.requests import check_plural
from jina_vllm_integrations.encoding.results import tokens_of
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.foundation.skipping import OnError, Skipping
from jina_vllm_integrations.reranking.planning import Planner
from jina_vllm_integrations.reranking.ranking import Ranking
from jina_vllm_integrations.scoring import score
from jina_vllm_integrations.scoring.maxsim import Normalize, ranking
from jina_vllm_integrations.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.queries import QueryTokens
    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.reranking.planning import Plan
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.token_store.keys import Known
    from jina_vllm_integrations.types import Item, Query, TokenVectors


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
        self,
        query: Query | QueryTokens,
        candidates: Iterable[Item | Known | InputError],
        *,
        top_n: int | None = None,
        on_error: OnError | Skipping = "raise",
    ) -> Ranking:
        """Rank candidates.

        Args:
            query: A text, an image, or both as a `TextImageQuery`; or its token vectors where a first stage has
                computed them.
            candidates: Texts, images, or a mix of both. Equal ones are computed once. Where whoever reads them could
                not read one, its `InputError` may stand in its place. Of one that is `Known` no file is read if the
                store has its vectors.
            top_n: How many to return at most; ``None`` for all.
            on_error: A bad candidate raises; or ``"skip"`` to log it as a warning, rank the others, and list it in the
                ``skipped`` of what is returned. A bad query raises all the same.

        Returns:
            The best first; of equals, the earlier first. ``index`` is the position in ``candidates``.

        Raises:
            InputError: A candidate cannot be embedded, or its vectors are not finite; ``index`` names it, and is
                ``None`` for the query.
            OptionError: ``top_n`` is not a whole number from 1, or there is no such choice.
            CheckpointError: The checkpoint has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be read or written.
        """
        skipping = _skipping(on_error)
        items = _checked(candidates, top_n)
        if not items:
            return Ranking()
        plan = Planner(self.encoder, self.store).plan(query, items, skipping)
        # Where one error ends the call, what is in flight after it is cancelled.
        answers = self.encoder.compute if skipping.raises else self.encoder.answers
        with plan.naming():
            results = list(answers(plan.requests))
        return self._ranked(plan, results, top_n)

    async def arerank(
        self,
        query: Query | QueryTokens,
        candidates: Iterable[Item | Known | InputError],
        *,
        top_n: int | None = None,
        on_error: OnError | Skipping = "raise",
    ) -> Ranking:
        """Do as `rerank`, without blocking the event loop. Cancelling stops the work."""
        skipping = _skipping(on_error)
        items = await asyncio.to_thread(_checked, candidates, top_n)
        if not items:
            return Ranking()
        plan = await asyncio.to_thread(Planner(self.encoder, self.store).plan, query, items, skipping)
        with plan.naming():
            if skipping.raises:
                results: Sequence[Result] = await self.encoder.acompute(plan.requests)
            else:
                results = await self.encoder.aanswers(plan.requests)
        return await asyncio.to_thread(self._ranked, plan, results, top_n)

    def _ranked(self, plan: Plan, results: Sequence[Result], top_n: int | None) -> Ranking:
        query = plan.asked(results[: plan.n_asked])
        vectors = {**plan.found, **self._kept(plan, results[plan.n_asked :])}
        scores = {} if query is None else self._scores(plan, query, vectors)
        score_of = {position: scores[key] for key, positions in plan.positions.items() for position in positions}
        stored = {position for key in plan.found for position in plan.positions.get(key, ())}
        places = sorted(score_of)
        order = ranking(np.array([score_of[position] for position in places], dtype=np.float32))[:top_n]
        ranked = [
            Ranked(index=position, score=float(score_of[position]), stored=position in stored)
            for position in (places[place] for place in order)
        ]
        return Ranking(ranked, skipped=sorted(plan.skipping.skipped, key=attrgetter("index")))

    def _kept(self, plan: Plan, answers: Sequence[Result]) -> dict[bytes, TokenVectors]:
        """Keep the vectors of good candidates, and return them as they are kept."""
        computed: dict[bytes, TokenVectors] = {}
        for key, answer in zip(plan.missing, answers, strict=True):
            if isinstance(answer, InputError):
                plan.leave_out(answer, key)
            else:
                computed[key] = tokens_of(answer)
        while True:
            try:
                return dict(zip(computed, self._put(list(computed.items())), strict=True))
            except InputError as error:
                del computed[plan.leave_out_one(error, list(computed))]

    def _put(self, computed: list[tuple[bytes, TokenVectors]]) -> list[TokenVectors]:
        if self.store is None:
            return [tokens for _, tokens in computed]
        if self.store.readonly:
            return [self.store.as_kept(tokens, index=index) for index, (_, tokens) in enumerate(computed)]
        return self.store.put_many(computed)

    def _scores(self, plan: Plan, query: QueryTokens, vectors: dict[bytes, TokenVectors]) -> dict[bytes, np.float32]:
        while True:
            keys = list(plan.positions)
            try:
                return dict(
                    zip(keys, score(query, [vectors[key] for key in keys], normalize=self._normalize), strict=True)
                )
            except InputError as error:
                plan.leave_out_one(error, keys)


def _skipping(on_error: OnError | Skipping) -> Skipping:
    return on_error if isinstance(on_error, Skipping) else Skipping(on_error)


def _checked(candidates: Iterable[Item | Known | InputError], top_n: int | None) -> list[Item | Known | InputError]:
    check_plural(candidates)
    if top_n is not None:
        check_count("top_n", top_n)
    return list(candidates)
