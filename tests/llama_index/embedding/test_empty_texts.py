"""Texts and nodes without content, which some splitters give: refused, or their prompts embedded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery

from jina_vllm_integrations import EmptyTextError
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding

TEXTS = ["the red circle is here", "", "something else"]


@pytest.fixture
def lenient(engine):
    """Return an embedding that embeds the prompt of what is empty."""
    return JinaVLLMEmbedding(engine=engine, empty_text="prompt")


def test_the_prompt_alone_is_embedded(lenient, embedding):
    """One by one, in batches and of nodes, both ways to call: of unit length, by role, and other texts are as ever."""
    vectors = lenient.get_text_embedding_batch(TEXTS)
    assert np.linalg.norm(vectors[1]) == pytest.approx(1)
    assert [vectors[0], vectors[2]] == embedding.get_text_embedding_batch([TEXTS[0], TEXTS[2]])
    assert lenient.get_query_embedding("") != vectors[1] == lenient.get_text_embedding("")
    assert [node.embedding for node in lenient([TextNode(text=text) for text in TEXTS])] == vectors
    assert asyncio.run(lenient.aget_text_embedding_batch(TEXTS)) == vectors
    assert asyncio.run(lenient.aget_text_embedding("")) == vectors[1]
    assert asyncio.run(lenient.aget_query_embedding("")) == lenient.get_query_embedding("")
    assert [node.embedding for node in asyncio.run(lenient.acall([TextNode(text="")]))] == vectors[1:2]


def test_a_cache_keeps_the_two_roles_apart(engine):
    """What is empty is computed once a role, and not served where it is refused."""
    cached = JinaVLLMEmbedding(engine=engine, empty_text="prompt", embeddings_cache=SimpleKVStore())
    document, query = cached.get_text_embedding(""), cached.get_query_embedding("")
    assert document != query
    computed = engine.n_requests
    assert (cached.get_text_embedding_batch([""]), asyncio.run(cached.aget_query_embedding(""))) == ([document], query)
    assert engine.n_requests == computed
    with pytest.raises(EmptyTextError, match="or choose empty_text='prompt'"):
        cached.model_copy(update={"empty_text": "raise"}).get_text_embedding("")


def test_a_store_finds_others_first(lenient):
    """Trap: a zero vector's score is not a number in LlamaIndex's own store, and comes first."""
    store = SimpleVectorStore()
    store.add(lenient([TextNode(text=text, id_=text or "empty") for text in TEXTS]))
    query = lenient.get_query_embedding("the red circle is where")
    found = store.query(VectorStoreQuery(query_embedding=query, similarity_top_k=3))
    assert found.ids[0] == TEXTS[0]
    assert np.isfinite(found.similarities).all()


def test_the_choice_survives_a_dictionary():
    """Like every other setting."""
    data = JinaVLLMEmbedding(model="jinaai/x", empty_text="prompt").to_dict()
    assert JinaVLLMEmbedding.from_dict(data).empty_text == "prompt"
