"""An embedding over a fake engine, and pictures for it."""

from __future__ import annotations

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from jina_vllm_integrations.llama_index import JinaVLLMEmbedding
from pictures import saved


@pytest.fixture
def embedding(engine):
    """Return an embedding over a fake engine."""
    return JinaVLLMEmbedding(engine=engine)


@pytest.fixture
def cached(engine):
    """Return an embedding over a fake engine that keeps its vectors."""
    return JinaVLLMEmbedding(engine=engine, embeddings_cache=SimpleKVStore())


@pytest.fixture
def red(tmp_path):
    """Return the path of a red picture."""
    return saved(tmp_path / "red.png", "red")
