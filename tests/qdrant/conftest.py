"""Indexes over every kind of Qdrant."""

from __future__ import annotations

import threading

import pytest
from qdrant_client import QdrantClient

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.qdrant import QdrantIndex
from jina_vllm_integrations.testing import FakeEngine
from qdrant_server import RestServer


@pytest.fixture
def encoder():
    """Return an encoder over a fake engine."""
    with FakeEngine() as engine:
        yield JinaEncoder(engine, task="retrieval")


@pytest.fixture
def server():
    """Return a running server."""
    with RestServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    server.qdrant.close()


@pytest.fixture
def client():
    """Return a client of the caller's."""
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture(params=["memory", "folder", "server", "client"])
def make_index(request, tmp_path):
    """Return a maker of indexes that reach one Qdrant of each kind."""
    if request.param == "server":
        # The version check would run in a thread of its own, past the end of a test.
        place = {"url": request.getfixturevalue("server").url, "check_compatibility": False}
    elif request.param == "client":
        place = {"client": request.getfixturevalue("client")}
    else:
        place = {"path": ":memory:" if request.param == "memory" else tmp_path / "index"}
    return lambda encoder, **options: QdrantIndex(encoder, "pages", **place, **options)


@pytest.fixture
def index(make_index, encoder):
    """Return an empty index."""
    with make_index(encoder) as index:
        yield index
