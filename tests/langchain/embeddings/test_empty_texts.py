"""Texts without content, which some of LangChain's and LangGraph's stores give: refused, or their prompts embedded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from langchain_core.stores import InMemoryByteStore
from langgraph.store.memory import InMemoryStore
from pydantic import ValidationError

from jina_vllm_integrations import EmptyTextError, JinaEncoder, OptionError
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings
from langchain_stores import DIMENSIONS, QUERY, STORES

TEXTS = ["the red circle is here", "", "something else"]


@pytest.fixture
def lenient(engine):
    """Return embeddings that embed the prompt of what is empty."""
    return JinaVLLMEmbeddings(engine=engine, empty_text="prompt")


def test_the_prompt_alone_is_embedded(lenient, engine):
    """One by one and in batches, both ways to call: of unit length, by role, and other texts are as ever."""
    vectors = lenient.embed_documents(TEXTS)
    assert np.linalg.norm(vectors[1]) == pytest.approx(1)
    strict = JinaVLLMEmbeddings(engine=engine).embed_documents([TEXTS[0], TEXTS[2]])
    assert [vectors[0], vectors[2]] == strict
    query = lenient.embed_query("")
    assert query != vectors[1]
    assert asyncio.run(lenient.aembed_documents(TEXTS)) == vectors
    assert asyncio.run(lenient.aembed_query("")) == query
    assert lenient.embed_multimodal([""], "query") == [query]


def test_a_cache_keeps_the_two_roles_and_other_texts_apart(engine):
    """What is empty is computed once a role, and served for nothing else."""
    cached = JinaVLLMEmbeddings(engine=engine, empty_text="prompt", cache=InMemoryByteStore())
    document, query = cached.embed_documents([""])[0], cached.embed_query("")
    assert document != query
    computed = engine.n_requests
    assert (cached.embed_documents([""]), asyncio.run(cached.aembed_query(""))) == ([document], query)
    assert engine.n_requests == computed
    assert cached.embed_documents(["Passage", "Query"])[0] not in (document, query)
    with pytest.raises(EmptyTextError):
        cached.model_copy(update={"empty_text": "raise"}).embed_documents([""])


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)
def test_stores_take_it_and_find_others_first(lenient, store):
    """Trap: a zero vector is nearer than most in stores that go by the Euclidean distance."""
    store = store(lenient)
    store.add_texts(TEXTS)
    found = [document.page_content for document in store.similarity_search(QUERY, k=3)]
    assert (found[0], sorted(found)) == (TEXTS[0], sorted(TEXTS))


@pytest.mark.parametrize("way", ["sync", "async"])
def test_langgraphs_store_takes_an_empty_field(engine, lenient, way):
    """Which raises unless it was chosen."""

    def put(embeddings):
        store = InMemoryStore(index={"dims": DIMENSIONS, "embed": embeddings, "fields": ["text"]})
        if way == "sync":
            store.put(("notes",), "1", {"text": ""})
        else:
            asyncio.run(store.aput(("notes",), "1", {"text": ""}))
        return store

    (found,) = put(lenient).search(("notes",), query=QUERY)
    assert found.value == {"text": ""}
    assert -1 <= found.score < 1
    with pytest.raises(EmptyTextError, match="or choose empty_text='prompt'"):
        put(JinaVLLMEmbeddings(engine=engine))


def test_another_choice_is_refused(engine):
    """By the embeddings and the encoder."""
    with pytest.raises(ValidationError, match="empty_text"):
        JinaVLLMEmbeddings(engine=engine, empty_text="zero")
    with pytest.raises(OptionError, match="empty_text must be one of"):
        JinaEncoder(engine, task="retrieval", empty_text="zero")
