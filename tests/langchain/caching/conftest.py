"""Embeddings with a cache."""

from __future__ import annotations

import pytest

from caches import AskedEngine, RecordingStore
from jina_vllm_integrations.langchain import JinaVLLMByteStore, JinaVLLMEmbeddings


@pytest.fixture
def engine():
    """Return a fake engine that counts what it computes."""
    with AskedEngine() as engine:
        yield engine


@pytest.fixture
def cache():
    """Return a store in memory that notes its calls."""
    return RecordingStore()


@pytest.fixture
def embeddings(engine, cache):
    """Return embeddings over both."""
    return JinaVLLMEmbeddings(engine=engine, cache=cache)


@pytest.fixture
def store(tmp_path):
    """Return a store that is open for writing."""
    with JinaVLLMByteStore(tmp_path / "store") as store:
        yield store
