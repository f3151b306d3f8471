"""Scores of pairs of texts, for what takes LangChain's cross-encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.cross_encoders import BaseCrossEncoder

from jina_vllm_integrations.errors import renaming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_vllm_integrations.reranking import LateInteractionReranker


class JinaVLLMCrossEncoder(BaseCrossEncoder):
    """Scores pairs of a query and a text by late interaction. Made by `JinaVLLMRerank.cross_encoder`.

    Args:
        reranker: Returns what ranks; called when it is first needed, because it may read a model's metadata.
    """

    def __init__(self, reranker: Callable[[], LateInteractionReranker]) -> None:
        self._reranker = reranker

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score each pair.

        Args:
            text_pairs: A query and a text. Pairs with the same query are scored in one batch.

        Returns:
            A score for each pair, in their order; more is better.

        Raises:
            InputError: A query or text cannot be embedded; ``index`` is the pair's position. Nothing was computed.
            CheckpointError: The model cannot be served, or has no multi-vector head.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be read or written.
        """
        if not text_pairs:
            return []
        reranker = self._reranker()
        reranker.encoder.check([query for query, _ in text_pairs], role="query")
        reranker.encoder.check([text for _, text in text_pairs], role="document")
        scores = [0.0] * len(text_pairs)
        for query, positions in _positions_by_query(text_pairs).items():
            with renaming(positions):
                ranked = reranker.rerank(query, [text_pairs[position][1] for position in positions])
            for each in ranked:
                scores[positions[each.index]] = each.score
        return scores


def _positions_by_query(pairs: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    positions: dict[str, list[int]] = {}
    for position, (query, _) in enumerate(pairs):
        positions.setdefault(query, []).append(position)
    return positions
