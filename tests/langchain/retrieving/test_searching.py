"""LangChain's retriever: pages and texts found in any store and ranked by late interaction."""

from __future__ import annotations

import asyncio
import copy
import pickle
import random

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError
from qdrant_client import models

from jina_vllm_integrations import ImageInput, JinaEncoder, LateInteractionReranker, OptionError, StoreFormatError
from jina_vllm_integrations.demo import demo_corpus
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRerank, JinaVLLMRetriever
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import COLOURS, QUERY, TEXTS, documents, names, page, sent


def test_texts_and_pages_are_found_together(retriever, scans, call):
    """Whatever the store: a text finds texts, an image finds its like, and an id finds its document."""
    ids = call(retriever, "add_documents", documents())
    page_ids = call(retriever, "add_images", [scans / f"{colour}.png" for colour in COLOURS])
    assert ids == [document.id for document in documents()]
    assert len(set(page_ids)) == 4

    (best, *others) = call(retriever, "invoke", QUERY, k=3)
    assert (best.page_content, best.id, best.metadata["place"]) == ("the red circle is here", ids[1], 1)
    assert type(best.metadata["relevance_score"]) is float
    assert [best, *others] == sorted([best, *others], key=lambda found: -found.metadata["relevance_score"])

    for colour in ("green", "blue"):
        (found,) = call(retriever, "invoke", ImageInput(scans / f"{colour}.png"), k=1)
        assert found.page_content == f"[scans/{colour}.png]"
        assert found.metadata["image_uri"] == found.metadata["source"] == str(scans / f"{colour}.png")
        assert found.metadata["relevance_score"] == pytest.approx(1, abs=1e-3)

    assert names(call(retriever, "get_by_ids", [page_ids[2]])) == ["[scans/blue.png]"]
    assert call(retriever, "delete", [page_ids[2]])["succeeded"] == [page_ids[2]]
    assert call(retriever, "get_by_ids", [page_ids[2]]) == []
    assert call(retriever, "delete", [])["num_deleted"] == 0
    assert call(retriever, "delete", [page_ids[3], page_ids[3]])["succeeded"] == [page_ids[3]]
    assert "[scans/blue.png]" not in names(call(retriever, "invoke", ImageInput(scans / "blue.png"), k=8))


def test_the_order_is_late_interactions(retriever, engine, scans):
    """With everything fetched, a search ranks as the reranker does, by scores of the same scale."""
    words = ["where", "is", "a", "red", "green", "circle", "square", "on", "page"]
    texts = [*TEXTS, *(" ".join(random.Random(seed).choices(words, k=seed)) for seed in range(4, 16))]
    retriever.add_documents(documents(texts))
    reranker = LateInteractionReranker(JinaEncoder(engine, task="retrieval"), normalize="mean")
    best = reranker.rerank(QUERY, texts, top_n=5)
    found = retriever.invoke(QUERY, k=5)
    assert names(found) == [texts[each.index] for each in best]
    assert [document.metadata["relevance_score"] for document in found] == pytest.approx(
        [each.score for each in best], abs=1e-3
    )


def test_everything_is_computed_once(make, engine, scans, call):
    """Adding takes one forward pass a document, searching one for the query."""
    retriever = make()
    call(retriever, "add_documents", [*documents(), page(scans / "red.png")])
    assert sum(engine.batches) == 5
    engine.batches.clear()
    call(retriever, "invoke", QUERY)
    assert engine.batches == [1]


def test_without_a_token_store_what_was_found_is_computed(engine, embeddings):
    """Then searching costs more, and finds the same."""
    retriever = JinaVLLMRetriever(vectorstore=InMemoryVectorStore(embeddings))
    retriever.add_documents(documents())
    engine.batches.clear()
    assert names(retriever.invoke(QUERY, k=1)) == ["the red circle is here"]
    assert sum(engine.batches) == 5


def test_options_of_a_call_take_the_place_of_the_retrievers(make, call):
    """The number, the filter and the threshold, given when it is made and for one call."""
    retriever = make(k=3, filter=lambda document: document.metadata["place"] != 1)
    retriever.add_documents(documents())
    assert len(call(retriever, "invoke", QUERY)) == 3
    assert "the red circle is here" not in names(call(retriever, "invoke", QUERY))
    assert names(call(retriever, "invoke", QUERY, k=1, filter=None)) == ["the red circle is here"]
    best = call(retriever, "invoke", QUERY, filter=None)[0].metadata["relevance_score"]
    assert len(call(retriever, "invoke", QUERY, filter=None, score_threshold=best)) == 1
    assert call(retriever, "invoke", QUERY, filter=None, score_threshold=1.0) == []
    assert len(call(retriever, "invoke", QUERY, k=4, fetch_k=1, filter=None)) == 4


def test_a_threshold_of_zero_is_one(make):
    """Nought is no "none"."""
    retriever = make(score_threshold=0.0)
    retriever.add_documents(documents())
    assert all(document.metadata["relevance_score"] >= 0 for document in retriever.invoke("zzz qqq", k=4))


def test_qdrant_filters_before_it_counts(make, call):
    """A filter of Qdrant's own, on metadata."""
    retriever = make(QdrantIndex)
    retriever.add_documents(documents())
    only = models.Filter(must=[models.FieldCondition(key="metadata.place", match=models.MatchValue(value=2))])
    assert names(call(retriever, "invoke", QUERY, filter=only)) == ["nothing of the kind"]


def test_few_are_fetched_and_ranked(make):
    """The second stage ranks only what the first has found."""
    retriever = make(fetch_k=2)
    retriever.add_documents(documents())
    assert len(retriever.invoke(QUERY, k=1)) == 1
    assert len(retriever.invoke(QUERY, k=2)) == 2


@pytest.mark.parametrize("options", [{"k": 0}, {"k": True}, {"fetch_k": "5"}, {"k": 2.0}])
def test_bad_numbers_of_a_call_are_refused(make, engine, options, call):
    """Before the query is computed."""
    with pytest.raises(OptionError, match="must be a whole number from 1"):
        call(make(), "invoke", QUERY, **options)
    assert engine.batches == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({}, "one of vectorstore, retriever and index must be given, got 0"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"top_k": 3}, "Extra inputs are not permitted"),
        ({"score_threshold": float("nan")}, "finite number"),
        ({"search_kwargs": {"k": 3, "filter": {}}, "filter": {}}, "filter, k must be the retriever's own"),
        ({"allowed_image_roots": "/scans"}, "valid tuple"),
    ],
)
def test_bad_fields_are_refused(embeddings, fields, rule):
    """By name, when it is made."""
    given = {"vectorstore": InMemoryVectorStore(embeddings)} if fields else {}
    with pytest.raises(ValidationError, match=rule):
        JinaVLLMRetriever(**given, **fields)


def test_a_store_of_another_model_is_refused():
    """Both stages compute by one model; what another finds is for the reranker."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    with pytest.raises(
        ValidationError, match=r"must embed by JinaVLLMEmbeddings.*got DeterministicFake.*JinaVLLMRerank"
    ):
        JinaVLLMRetriever(vectorstore=store)


def test_embeddings_are_the_stores_own(embeddings, engine):
    """Others would search it by vectors of another kind."""
    store = InMemoryVectorStore(embeddings)
    assert JinaVLLMRetriever(vectorstore=store, embeddings=embeddings).embeddings is embeddings
    with pytest.raises(ValidationError, match="must be the vector store's own"):
        JinaVLLMRetriever(vectorstore=store, embeddings=JinaVLLMEmbeddings(engine=engine, dimensions=16))


def test_options_that_qdrant_lacks(make, call):
    """A typo is told, when it is made and at a call."""
    with pytest.raises(ValidationError, match=r"a search of a QdrantIndex takes .* got top_k"):
        make(QdrantIndex, search_kwargs={"top_k": 3})
    retriever = make(QdrantIndex, search_kwargs={"exact": True})
    retriever.add_documents(documents())
    assert len(call(retriever, "invoke", QUERY)) == 4
    with pytest.raises(OptionError, match="got score_treshold"):
        call(retriever, "invoke", QUERY, score_treshold=0.9)


def test_points_of_others_in_qdrant(engine, call):
    """Are named, and not mistaken for documents."""
    index = QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:")
    (point,) = index.upsert([QUERY], payloads=[{"mine": 1}])
    with pytest.raises(StoreFormatError, match=f"{point} has mine"):
        call(JinaVLLMRetriever(index=index), "invoke", QUERY)


def test_only_what_was_given_is_shared_by_copies(make):
    """A copy is checked anew, and a retriever with a store does not travel."""
    retriever = make(k=3)
    assert retriever.model_copy(update={"k": 2}).k == 2
    assert copy.deepcopy(retriever).vectorstore is retriever.vectorstore
    with pytest.raises(ValidationError):
        retriever.model_copy(update={"k": 0})
    with pytest.raises(ValidationError, match="frozen"):
        retriever.k = 5
    with pytest.raises(OptionError, match="token_store and vectorstore"):
        pickle.dumps(retriever)


def test_traces_say_what_computes(make, call):
    """The only place where LangChain lets a retriever tell."""

    class Recording(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, *, metadata, **rest):
            self.started = (query, metadata["ls_vector_store_provider"], metadata["ls_embedding_provider"])

        def on_retriever_end(self, documents, **rest):
            self.ended = len(documents)

    retriever = make()
    retriever.add_documents(documents())
    handler = Recording()
    call(retriever, "invoke", QUERY, {"callbacks": [handler]})
    assert handler.started == (QUERY, "InMemoryVectorStore", "jina-vllm")
    assert handler.ended == 4


def test_delete_needs_ids(make, call):
    """All is not deleted by mistake."""
    with pytest.raises(OptionError, match="delete needs ids"):
        call(make(), "delete")


def test_a_web_servers_requests_share_batches_and_block_nothing(make, engine):
    """Fifty at once in one event loop, which is free while the engine is at work."""
    retriever = make()
    retriever.add_documents(documents())
    app = FastAPI()

    @app.get("/search")
    async def search(query: str):
        return [document.page_content for document in await retriever.ainvoke(query, k=1)]

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            engine.may_go_on.clear()
            asked = [asyncio.create_task(client.get("/search", params={"query": QUERY})) for _ in range(50)]
            await sent(engine, 50)  # all of them, while none is answered
            engine.may_go_on.set()
            return [response.json() for response in await asyncio.gather(*asked)]

    engine.batches.clear()
    assert asyncio.run(ask()) == [["the red circle is here"]] * 50


def test_a_cancelled_search_stops(make, engine):
    """Its query is not waited for."""
    retriever = make()
    retriever.add_documents(documents())

    async def cancel():
        engine.may_go_on.clear()
        engine.batches.clear()
        task = asyncio.create_task(retriever.ainvoke(QUERY))
        await sent(engine, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.may_go_on.set()

    asyncio.run(cancel())


def test_the_reranker_ranks_what_a_search_by_another_model_finds(engine, call):
    """What the refusal of another model's store recommends."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents(documents())
    found = store.similarity_search(QUERY, k=4)
    best, *_ = call(JinaVLLMRerank(engine=engine), "compress_documents", found, QUERY)
    assert best.page_content == "the red circle is here"


def test_the_demos_pages_are_found_as_by_the_reranker(demo_vllm, token_store):
    """On the demo's corpus the retriever's nDCG@5 is the reranker's, over all pictures."""
    corpus = demo_corpus()
    pictures = [document.path for document in corpus.documents]
    retriever = JinaVLLMRetriever(
        vectorstore=InMemoryVectorStore(JinaVLLMEmbeddings(engine=demo_vllm)),
        token_store=token_store,
        allowed_image_roots=(pictures[0].parent,),
        k=5,
    )
    retriever.add_images(pictures, ids=[path.name for path in pictures])
    reranker = LateInteractionReranker(JinaEncoder(demo_vllm, task="retrieval"), token_store)
    found, ranked = [], []
    for query in corpus.queries:
        found.append(gain([document.id for document in retriever.invoke(query.text)], query))
        best = reranker.rerank(query.text, pictures, top_n=5)
        ranked.append(gain([pictures[each.index].name for each in best], query))
    assert sum(found) / len(found) == pytest.approx(sum(ranked) / len(ranked), abs=1e-9)
    assert sum(found) / len(found) > 0.99


def gain(found, query):
    """Return a query's nDCG; it has one answer."""
    (answer,) = query.answers
    return 1 / np.log2(found.index(answer) + 2) if answer in found else 0.0
