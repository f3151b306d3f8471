"""Rerankers over a fake engine, and pages for them."""

from __future__ import annotations

import pytest

from jina_vllm_integrations.langchain.reranking import JinaVLLMRerank
from pictures import saved


@pytest.fixture
def make(engine):
    """Return a maker of rerankers over a fake engine."""
    return lambda **fields: JinaVLLMRerank(engine=engine, **fields)


@pytest.fixture
def scans(scans):
    """Add a page whose name is an awkward one."""
    saved(scans / "a b%20#1.png", "red", size=(90, 60))
    return scans
