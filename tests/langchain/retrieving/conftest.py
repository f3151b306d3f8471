"""Retrievers over each kind of store, used in both ways."""

from __future__ import annotations

import asyncio

import pytest

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import COLOURS, STORES, in_memory
from pictures import scans_of


@pytest.fixture
def embeddings(engine):
    """Return embeddings over a fake engine."""
    return JinaVLLMEmbeddings(engine=engine)


@pytest.fixture
def scans(tmp_path):
    """Return a folder with a page of each colour."""
    return scans_of(tmp_path, COLOURS)


@pytest.fixture
def make(embeddings, engine, token_store, scans):
    """Return a maker of retrievers over a kind of vector store, or over a `QdrantIndex`."""

    def make(store=in_memory, **fields):
        if store is QdrantIndex:
            fields["index"] = QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:")
        else:
            fields = {"vectorstore": store(embeddings), "token_store": token_store, **fields}
        return JinaVLLMRetriever(**{"allowed_image_roots": (scans,), **fields})

    return make


@pytest.fixture(params=[*STORES, QdrantIndex], ids=lambda store: store.__name__)
def retriever(request, make):
    """Return an empty retriever over each kind of store."""
    return make(request.param)


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return what calls a method, or its asynchronous twin in an event loop of its own."""
    if request.param == "sync":
        return lambda owner, method, *given, **options: getattr(owner, method)(*given, **options)
    return lambda owner, method, *given, **options: asyncio.run(getattr(owner, f"a{method}")(*given, **options))
