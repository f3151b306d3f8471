"""Rerankers over a fake engine."""

from __future__ import annotations

import pytest

from jina_vllm_integrations.llama_index import JinaVLLMRerank


@pytest.fixture
def make(engine):
    """Return a maker of rerankers over a fake engine."""
    return lambda **fields: JinaVLLMRerank(engine=engine, **fields)
