"""Collections that are there already, with other vectors than an index needs."""

from __future__ import annotations

import pytest
from qdrant_client import models

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.errors import StoreFormatError
from jina_vllm_integrations.qdrant import QdrantIndex
from qdrant_points import QUERY, TEXTS


@pytest.mark.parametrize("make_index", ["folder", "server", "client"], indirect=True)
def test_a_collection_of_other_vectors(make_index, encoder, server):
    """A collection whose vectors have other sizes is refused, and left as it is."""
    with make_index(encoder) as index:
        index.upsert(TEXTS)
    smaller = JinaEncoder(encoder.engine, task="retrieval", dimensions=16)
    many = (f"text {n}" for n in range(1000))
    with make_index(smaller) as index:
        for use in (index.count, lambda: index.search(QUERY), lambda: index.upsert(many)):
            with pytest.raises(
                StoreFormatError,
                match=r"'pages' must have the vectors dense \(16 Cosine\), tokens \(32 Dot max_sim\), and the one "
                r"that exists has dense \(64 Cosine\), tokens \(32 Dot max_sim\)\. Use another name",
            ):
                use()
    assert len(list(many)) > 800, "it was embedded before the collection was looked at"
    with make_index(encoder) as index:
        assert index.count() == len(TEXTS)


@pytest.mark.parametrize(
    ("vectors", "listed"),
    [
        (models.VectorParams(size=64, distance="Cosine"), r"unnamed \(64 Cosine\)"),
        ({}, "none"),
        (
            {
                "dense": models.VectorParams(size=64, distance="Cosine"),
                "tokens": models.VectorParams(size=32, distance="Dot"),
            },
            r"dense \(64 Cosine\), tokens \(32 Dot\)",
        ),
    ],
)
def test_a_collection_of_somebody_else(encoder, client, vectors, listed):
    """A collection that lacks one of our vectors is refused."""
    client.create_collection("pages", vectors)
    with (
        QdrantIndex(encoder, "pages", client=client) as index,
        pytest.raises(StoreFormatError, match=f"has {listed}. Use"),
    ):
        index.count()


def test_a_collection_with_more_vectors(encoder, client):
    """What else a collection has does not matter, nor how it was tuned."""
    vectors = {
        "dense": models.VectorParams(size=64, distance="Cosine", on_disk=True),
        "tokens": models.VectorParams(
            size=32, distance="Dot", multivector_config=models.MultiVectorConfig(comparator="max_sim")
        ),
        "title": models.VectorParams(size=8, distance="Dot"),
    }
    client.create_collection("pages", vectors, sparse_vectors_config={"words": models.SparseVectorParams()})
    with QdrantIndex(encoder, "pages", client=client) as index:
        index.upsert(TEXTS)
        assert len(index.search(QUERY)) == len(TEXTS)
