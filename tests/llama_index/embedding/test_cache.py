"""The cache of LlamaIndex's embedding: nothing is computed twice, and nothing is served for another."""

from __future__ import annotations

import asyncio
import io

import numpy as np
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import ImageNode
from llama_index.core.storage.kvstore import SimpleKVStore

from jina_vllm_integrations.llama_index import JinaVLLMEmbedding
from jina_vllm_integrations.llama_index.caching import COLLECTION
from jina_vllm_integrations.testing import FakeEngine
from pictures import in_base64

# A cache keeps float16.
KEPT = {"rtol": 0, "atol": 1e-3}


def test_what_was_computed_is_not_computed_again(engine, cached, red):
    """Texts, queries and pictures in any shape come from the store, in order, and are the vectors all the same."""
    plain = JinaVLLMEmbedding(engine=engine)
    expected = [
        *plain.get_text_embedding_batch(["a", "b"]),
        plain.get_query_embedding("a"),
        plain.get_image_embedding(red),
    ]
    before = engine.n_requests

    def vectors():
        return [
            *cached.get_text_embedding_batch(["a", "b"]),
            cached.get_query_embedding("a"),
            cached.get_image_embedding(red),
        ]

    async def again():
        return [
            *await cached.aget_text_embedding_batch(["a", "b"]),
            await cached.aget_query_embedding("a"),
            await cached.aget_image_embedding(io.BytesIO(red.read_bytes())),
        ]

    first = vectors()
    np.testing.assert_allclose(first, expected, **KEPT)
    assert engine.n_requests == before + 4
    assert first == vectors() == asyncio.run(again())
    assert cached([ImageNode(image=in_base64(red.read_bytes()))])[0].embedding == first[3]
    assert engine.n_requests == before + 4


def test_duplicates_are_computed_once(engine, cached, embedding):
    """Equal texts of a batch are one request, with a cache and without, and each gets its vector."""
    for computing in (cached, embedding):
        before = engine.n_requests
        one, other, third, last = computing.get_text_embedding_batch(["a", "b", "a", "c"])
        assert engine.n_requests == before + 3
        assert one == third
        assert len({tuple(vector) for vector in (one, other, last)}) == 3


def test_query_and_passage_do_not_collide(cached, encoder):
    """Trap: LlamaIndex's own cache returns a query's vector for the passage of the same words."""
    passage, query = cached.get_text_embedding("a b c"), cached.get_query_embedding("a b c")
    np.testing.assert_allclose(passage, encoder.embed(["a b c"], role="document")[0], **KEPT)
    np.testing.assert_allclose(query, encoder.embed(["a b c"], role="query")[0], **KEPT)
    assert cached.get_text_embedding("a b c") == passage != query == cached.get_query_embedding("a b c")


def test_models_and_settings_share_a_store_and_no_vector(cached):
    """Trap: two models over one store get each other's vectors from LlamaIndex's own cache."""
    store = cached.embeddings_cache
    MockEmbedding(embed_dim=3, embeddings_cache=store).get_text_embedding("a")
    assert len(cached.get_text_embedding("a")) == 64
    assert len(MockEmbedding(embed_dim=3, embeddings_cache=store).get_query_embedding("a")) == 3
    assert len(cached.model_copy(update={"dimensions": 16}).get_text_embedding("a")) == 16
    code = cached.model_copy(update={"task": "code"}).get_text_embedding("a")
    with FakeEngine(hidden_size=32) as other:
        assert len(JinaVLLMEmbedding(engine=other, embeddings_cache=store).get_text_embedding("a")) == 32
    assert code
    assert len(store.get_all(collection=COLLECTION)) == 4


def test_a_persisted_store_is_as_good(engine, cached, tmp_path):
    """The values are JSON; a damaged one is logged and computed again."""
    vector = cached.get_text_embedding("a")
    path = str(tmp_path / "vectors.json")
    cached.embeddings_cache.persist(path)
    store = SimpleKVStore.from_persist_path(path)
    again = JinaVLLMEmbedding(engine=engine, embeddings_cache=store)
    assert again.get_text_embedding("a") == vector
    assert engine.n_requests == 1
    (key,) = store.get_all(collection=COLLECTION)
    for damaged in ({"record": "no base64"}, {"other": 1}, {"record": "AAAA"}):
        store.put(key, damaged, collection=COLLECTION)
        assert again.get_text_embedding("a") == vector
    assert engine.n_requests == 4
