"""Candidates of a search, ranked by late interaction."""

from __future__ import annotations

from jina_vllm_integrations.reranking.ranking import Ranking
from jina_vllm_integrations.reranking.reranker import LateInteractionReranker

__all__ = ["LateInteractionReranker", "Ranking"]
