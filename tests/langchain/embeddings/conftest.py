"""Embeddings over a fake engine, and a picture for them."""

from __future__ import annotations

import pytest

from jina_vllm_integrations.langchain import JinaVLLMEmbeddings
from pictures import saved


@pytest.fixture
def embeddings(engine):
    """Return embeddings over a fake engine."""
    return JinaVLLMEmbeddings(engine=engine)


@pytest.fixture
def red(tmp_path):
    """Return the path of a red picture."""
    return saved(tmp_path / "red.png", "red")
