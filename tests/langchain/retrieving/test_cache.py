"""The cache of the embeddings holds in the retriever, too: each document and query is computed once."""

from __future__ import annotations

import numpy as np
import pytest

from caches import RecordingStore
from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.langchain import JinaVLLMByteStore, JinaVLLMEmbeddings
from langchain_stores import COLOURS, QUERY, TEXTS, documents, in_memory, names, page
from pictures import encoded, noise


@pytest.fixture
def cache():
    """Return a cache that notes what it is asked."""
    return RecordingStore()


@pytest.fixture
def cached(engine, cache):
    """Return embeddings with it."""
    return JinaVLLMEmbeddings(engine=engine, cache=cache)


def pages(scans):
    """Return texts and pages."""
    return [*documents(), *(page(scans / f"{colour}.png") for colour in COLOURS)]


@pytest.mark.parametrize("stored", [True, False], ids=["token store", "no token store"])
def test_documents_are_computed_once(make, engine, cached, scans, call, stored, token_store):
    """A second vector store is filled without computing anything, and finds the same by the same vectors."""
    options = {"token_store": token_store if stored else None}
    first, second = (make(vectorstore=in_memory(cached), **options) for _ in range(2))
    call(first, "add_documents", pages(scans))
    assert engine.n_requests == len(TEXTS) + len(COLOURS)
    call(second, "add_documents", pages(scans))
    assert engine.n_requests == len(TEXTS) + len(COLOURS)
    vectors = [
        {each["text"]: each["vector"] for each in retriever.vectorstore.store.values()} for retriever in (first, second)
    ]
    assert vectors[0] == vectors[1]
    assert names(call(first, "invoke", QUERY)) == names(call(second, "invoke", QUERY))


def test_the_embeddings_find_what_the_retriever_has_computed(make, engine, cached, scans, call):
    """Under equal keys, with the same vectors that the vector store has."""
    retriever = make(vectorstore=in_memory(cached))
    call(retriever, "add_documents", pages(scans))
    kept = {each["text"]: each["vector"] for each in retriever.vectorstore.store.values()}
    engine.batches.clear()
    assert cached.embed_documents(TEXTS) == [kept[text] for text in TEXTS]
    images = cached.embed_images([scans / f"{colour}.png" for colour in COLOURS])
    assert images == [kept[f"[{colour}.png]"] for colour in COLOURS]
    assert engine.n_requests == 0


def test_the_retriever_finds_what_the_embeddings_have_computed(make, engine, cached, scans, call):
    """Without a token store nothing is computed; with one, the token vectors alone."""
    cached.embed_documents(TEXTS)
    embedded = cached.embed_images([scans / f"{colour}.png" for colour in COLOURS])
    engine.batches.clear()
    call(make(vectorstore=in_memory(cached), token_store=None), "add_documents", pages(scans))
    assert engine.n_requests == 0
    retriever = make(vectorstore=in_memory(cached))
    call(retriever, "add_documents", pages(scans))
    assert engine.n_requests == len(TEXTS) + len(COLOURS)
    kept = {each["text"]: each["vector"] for each in retriever.vectorstore.store.values()}
    assert [kept[f"[{colour}.png]"] for colour in COLOURS] == embedded
    engine.batches.clear()
    call(retriever, "invoke", QUERY)
    assert engine.n_requests == 1


def test_known_pages_need_no_file_when_they_are_found(make, engine, cached, scans, call):
    """The picture of a page that was not computed again is noted in its document as well."""
    call(make(vectorstore=in_memory(cached)), "add_documents", pages(scans))
    retriever = make(vectorstore=in_memory(cached))
    call(retriever, "add_documents", pages(scans))
    (scans / "red.png").unlink()
    assert "[red.png]" in names(call(retriever, "invoke", QUERY, k=len(TEXTS) + len(COLOURS)))


def test_a_query_is_in_the_cache_as_the_embeddings_have_it(make, engine, cache, cached, call):
    """So a store that is asked by a text finds its vector, and another search writes nothing."""
    retriever = make(vectorstore=in_memory(cached))
    call(retriever, "add_documents", documents())
    call(retriever, "invoke", QUERY)
    engine.batches.clear()
    cached.embed_query(QUERY)
    assert engine.n_requests == 0
    n_written = len(cache.written)
    call(retriever, "invoke", QUERY)
    assert len(cache.written) == n_written
    assert engine.n_requests == 1  # its token vectors


def test_a_cache_that_is_only_read_is_not_written(make, engine, tmp_path, call):
    """It answers as any other."""
    with JinaVLLMByteStore(tmp_path / "cache") as store:
        JinaVLLMEmbeddings(engine=engine, cache=store).embed_documents(TEXTS[:2])
        n_kept = len(list(store.yield_keys()))
    engine.batches.clear()
    with JinaVLLMByteStore(tmp_path / "cache", readonly=True) as store:
        embeddings = JinaVLLMEmbeddings(engine=engine, cache=store)
        retriever = make(vectorstore=in_memory(embeddings), token_store=None)
        call(retriever, "add_documents", documents())
        assert engine.n_requests == len(TEXTS) - 2
        call(retriever, "invoke", QUERY)
        assert len(list(store.yield_keys())) == n_kept


def test_bad_documents_are_left_out_and_not_kept(make, engine, cached, scans, call, tmp_path):
    """Whatever shows that one is bad: its pixels when it is looked up, or its vectors when it is kept."""
    broken = scans / "broken.png"
    broken.write_bytes(encoded(noise(90, 60))[:-900])
    given = [documents()[0], page(broken), *documents()[2:], page(scans / "red.png")]
    for token_store, spoilt in ((TokenStore(tmp_path / "tokens"), TEXTS[2]), (None, None)):
        engine.spoilt = spoilt
        retriever = make(vectorstore=in_memory(cached), token_store=token_store)
        ids = call(retriever, "add_documents", given, on_error="skip")
        assert [each.index for each in ids.skipped] == ([1] if token_store is None else [1, 2])
        assert len(retriever.vectorstore.store) == len(given) - len(ids.skipped)


def test_many_documents_keep_their_order(make, engine, cached, call):
    """Known and new ones in several lots, each with its own vector."""
    texts = [f"text {number}" for number in range(200)]
    cached.embed_documents(texts[50:130])
    engine.batches.clear()
    retriever = make(vectorstore=in_memory(cached), token_store=None)
    call(retriever, "add_documents", documents(texts))
    assert engine.n_requests == 120
    kept = [each["vector"] for each in retriever.vectorstore.store.values()]
    np.testing.assert_array_equal(kept, cached.embed_documents(texts))
