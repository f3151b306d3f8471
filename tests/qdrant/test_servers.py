"""Qdrant's servers: what they are asked for, in requests that they take."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from qdrant_client import models

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.qdrant import QdrantIndex, points
from jina_vllm_integrations.testing import FakeEngine
from qdrant_points import QUERY, TEXTS

BYTES_OF_SERVER = 32 * 2**20


def test_requests_are_sized_by_floats(server, encoder, monkeypatch):
    """A request has as many points as fit its bytes, long items few, short ones many, and a large payload counts."""
    monkeypatch.setattr(points, "MAX_REQUEST_BYTES", 400_000)
    long, short = [f"{n} " + "long " * 60 for n in range(6)], [f"{n}" for n in range(60)]
    with QdrantIndex(encoder, "pages", url=server.url, check_compatibility=False) as index:
        index.upsert([*long, *short], payloads=[{}] * 65 + [{"text": "ü" * 60_000}])
        assert index.count() == 66
    bodies = server.bodies("/points")
    assert all(len(body) <= 400_000 for body in bodies)
    n_points = [len(json.loads(body)["points"]) for body in bodies]
    assert sum(n_points) == 66
    assert n_points[0] == 1
    assert max(n_points) > 10


def test_the_largest_point_fits_a_request():
    """With numbers of the most digits, a point of as many floats as are allowed stays under a server's 32 MiB."""
    tokens = np.full((8191, 128), -1.2345678e-05, dtype=np.float32)
    struct = models.PointStruct(
        id="0" * 32, vector={"dense": tokens[:16].ravel().tolist(), "tokens": tokens.tolist()}, payload={}
    )
    n_bytes = len(models.PointsList(points=[struct]).model_dump_json())
    bound = (tokens.size + 2048) * points._BYTES_PER_FLOAT + points._BYTES_PER_POINT
    assert 0.8 * bound < n_bytes <= bound < points.MAX_REQUEST_BYTES < BYTES_OF_SERVER


def test_more_floats_than_a_server_takes():
    """An item with as many is refused before it is sent, embedded too, and named; one with a vector less is stored."""
    letters = np.array(list("abcdefgh "))
    rng = np.random.default_rng(0)

    def text(n_tokens):
        return "".join(rng.choice(letters, n_tokens - len("Passage: ") - 1)) + "."

    with FakeEngine(hidden_size=16, max_tokens=40_000) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        limit = points.MAX_FLOATS // engine.checkpoint.token_dimensions
        with QdrantIndex(encoder, "pages", path=":memory:") as index:
            with pytest.raises(
                InputError, match=r"item 1: .* fewer than 1,048,576 floats, 32,767 token .* 32,768\."
            ) as e:
                index.upsert(["short", text(limit), "never read"])
            assert e.value.index == 1
            assert index.count() == 0
            assert index.search("short") == []
            with pytest.raises(InputError, match=r"^an item in Qdrant"):
                index.search(text(limit + len("Passage") - len("Query")))
            index.upsert([text(limit - 1)])
            assert index.count() == 1


def test_what_a_server_is_asked_for(server, encoder):
    """The collection is made once, with a graph over dense vectors only; a search is one request."""
    options = {"on_disk": False, "datatype": "float16", "check_compatibility": False}
    with QdrantIndex(encoder, "pages", url=server.url, **options) as index:
        index.upsert(TEXTS)
        index.search(QUERY, limit=2, exact=True)
    (made,) = [json.loads(body) for body in server.bodies("")]
    assert made["vectors"] == {
        "dense": {"size": 64, "distance": "Cosine"},
        "tokens": {
            "size": 32,
            "distance": "Dot",
            "multivector_config": {"comparator": "max_sim"},
            "hnsw_config": {"m": 0},
            "on_disk": False,
            "datatype": "float16",
        },
    }
    (search,) = [json.loads(body) for body in server.bodies("/points/query")]
    (query_tokens,) = encoder.embed_tokens([QUERY], role="query")
    assert search["using"] == "tokens"
    assert search["limit"] == 2
    np.testing.assert_array_equal(np.float32(search["query"]["nearest"]), query_tokens.vectors)
    assert {name: search["prefetch"][name] for name in ("using", "limit", "params")} == {
        "using": "dense",
        "limit": 100,
        "params": {"exact": True},
    }
    assert len(server.bodies("/points")) == 1


def test_options_of_a_server(server, encoder):
    """A server's options go to its client, whose timeout is long enough for large requests."""
    with QdrantIndex(
        encoder, "pages", url=server.url, check_compatibility=False, headers={"X-Tenant": "a"}, timeout=7
    ) as index:
        client = index._collection._opened()
        assert client.init_options["headers"] == {"X-Tenant": "a"}
        assert client.init_options["timeout"] == 7
    with QdrantIndex(encoder, "pages", url=server.url, check_compatibility=False) as index:
        assert index._collection._opened().init_options["timeout"] == 60


def test_a_server_that_checks_its_version(server, encoder):
    """The client's own check of versions runs as it is."""
    with QdrantIndex(encoder, "pages", url=server.url) as index:
        assert index.upsert(TEXTS[:1])
        for thread in threading.enumerate():
            if "_check_compatibility" in thread.name:
                thread.join()
