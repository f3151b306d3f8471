"""A query on its way through two stages: a dense vector for the one, token vectors for the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from jina_vllm_integrations.adapters.cached_encoder import cached
from jina_vllm_integrations.encoding.queries import aembed_query, embed_query
from jina_vllm_integrations.reranking import LateInteractionReranker
from jina_vllm_integrations.types import TokenVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.adapters.dense_cache import DenseCache
    from jina_vllm_integrations.adapters.found import FoundErrors, Placed
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.queries import QueryTokens
    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.token_store.keys import Known
    from jina_vllm_integrations.types import FloatArray, Item, Query


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryVectors:
    """What a query is found and ranked by, from one forward pass.

    Attributes:
        dense: For the first stage. *Shape:* ``(dimensions,)``, float32, L2-normalised.
        tokens: For the second.
        reranker: Ranks by them, with scores that are comparable across queries.
    """

    dense: FloatArray
    tokens: QueryTokens
    reranker: LateInteractionReranker

    @classmethod
    def of(
        cls, query: Query, encoder: JinaEncoder, token_store: TokenStore | None, cache: DenseCache | None = None
    ) -> Self:
        """Compute a query.

        Args:
            query: A text, an image, or both as a `TextImageQuery`.
            encoder: Who computes.
            token_store: Has the token vectors of what is ranked; without one they are computed for each query.
            cache: Has dense vectors, and gets the query's, as from an adapter's own query: a store that is searched by
                a text asks the adapter for the same one. The token vectors are computed for each query.

        Raises:
            InputError: The query cannot be embedded. It has no ``index``: the caller passed one query.
            CheckpointError: The checkpoint has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
        """
        dense, tokens = embed_query(cached(encoder, cache), query)
        return cls(dense=dense, tokens=tokens, reranker=_reranker(encoder, token_store))

    @classmethod
    async def aof(
        cls, query: Query, encoder: JinaEncoder, token_store: TokenStore | None, cache: DenseCache | None = None
    ) -> Self:
        """Do as `of`, without blocking the event loop. Cancelling stops the work."""
        dense, tokens = await aembed_query(cached(encoder, cache), query)
        return cls(dense=dense, tokens=tokens, reranker=_reranker(encoder, token_store))

    @property
    def n_tokens(self) -> int:
        """How many vectors the query is ranked by."""
        return len(self.tokens.vectors if isinstance(self.tokens, TokenVectors) else self.tokens)

    def ranked(
        self, candidates: Sequence[Item | Known | InputError], k: int, *, names: Sequence[str], errors: FoundErrors
    ) -> list[Placed]:
        """Rank what was found, and return so many at most, the best first.

        Args:
            candidates: What each is ranked by, or why there is nothing.
            k: How many.
            names: What each is called, for the log.
            errors: What is done about bad ones.

        Raises:
            JinaVLLMError: As `LateInteractionReranker.rerank`.
        """
        return errors.placed(self.reranker.rerank(self.tokens, candidates, top_n=k, on_error=errors.skipping(names)), k)

    async def aranked(
        self, candidates: Sequence[Item | Known | InputError], k: int, *, names: Sequence[str], errors: FoundErrors
    ) -> list[Placed]:
        """Do as `ranked`, without blocking the event loop. Cancelling stops the work."""
        return errors.placed(
            await self.reranker.arerank(self.tokens, candidates, top_n=k, on_error=errors.skipping(names)), k
        )


def _reranker(encoder: JinaEncoder, token_store: TokenStore | None) -> LateInteractionReranker:
    return LateInteractionReranker(encoder, token_store, normalize="mean")
