"""The LangChain retriever: any vector store and Qdrant, texts and pages, found in two stages."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import pickle
import random
from itertools import count

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from langchain_chroma import Chroma
from langchain_community.docstore.in_memory import InMemoryDocstore
from langchain_community.vectorstores import FAISS  # of LangChain's, the only one with FAISS
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_qdrant import QdrantVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite
from PIL import Image
from pydantic import ValidationError
from qdrant_client import QdrantClient, models

from jina_vllm_integrations import (
    ImageError,
    ImageInput,
    ImageNotFoundError,
    InputError,
    ItemTypeError,
    JinaEncoder,
    LateInteractionReranker,
    OptionError,
    StoreError,
    StoreFormatError,
)
from jina_vllm_integrations.demo import demo_corpus
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRerank, JinaVLLMRetriever
from jina_vllm_integrations.qdrant import QdrantIndex
from pictures import scans_of

TEXTS = ["ein blaues Quadrat", "the red circle is here", "nothing of the kind", "noch ein Satz"]
QUERY = "where is the red circle"
COLOURS = ("red", "green", "blue", "white")
DIMENSIONS = 64  # the fake engine's

runs_coroutines = pytest.mark.asyncio
no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)
collections = count()


def in_memory(embeddings):
    """Return LangChain's own."""
    return InMemoryVectorStore(embeddings)


def chroma(embeddings):
    """Return an embedded Chroma."""
    return Chroma(f"pages-{next(collections)}", embeddings, collection_configuration={"hnsw": {"space": "cosine"}})


def faiss_store(embeddings):
    """Return a FAISS index."""
    import faiss

    return FAISS(embeddings, faiss.IndexFlatIP(DIMENSIONS), InMemoryDocstore(), {})


def qdrant(embeddings):
    """Return an embedded Qdrant by LangChain's own integration."""
    client = QdrantClient(":memory:")
    client.create_collection("pages", models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE))
    return QdrantVectorStore(client, "pages", embeddings)


STORES = [in_memory, chroma, faiss_store, qdrant]


@pytest.fixture
def embeddings(engine):
    """Return embeddings over it."""
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
            fields |= {"vectorstore": store(embeddings), "token_store": token_store}
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


def documents(texts=TEXTS):
    """Return documents with ids and metadata."""
    return [
        Document(text, id=f"00000000-0000-0000-0000-{index:012}", metadata={"place": index})
        for index, text in enumerate(texts)
    ]


def page(path, **metadata):
    """Return a page as a loader makes it: another document where the picture is another."""
    return Document(f"[{path.name}]", metadata={"image_uri": str(path), "size": path.stat().st_size, **metadata})


async def sent(engine, number):
    """Wait until an engine was given so many requests."""
    loop, enough = asyncio.get_running_loop(), asyncio.Event()

    def note():
        if sum(engine.batches) >= number:
            loop.call_soon_threadsafe(enough.set)

    engine.submitted = note
    note()
    await asyncio.wait_for(enough.wait(), 30)


def names(found):
    """Return the names of the pages that were found, or their texts."""
    return [document.page_content for document in found]


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
        assert found.page_content == f"[{colour}.png]"
        assert found.metadata["image_uri"] == found.metadata["source"] == str(scans / f"{colour}.png")
        assert found.metadata["relevance_score"] == pytest.approx(1, abs=1e-3)

    assert names(call(retriever, "get_by_ids", [page_ids[2]])) == ["[blue.png]"]
    assert call(retriever, "delete", [page_ids[2]])["succeeded"] == [page_ids[2]]
    assert call(retriever, "get_by_ids", [page_ids[2]]) == []
    assert call(retriever, "delete", [])["num_deleted"] == 0
    assert call(retriever, "delete", [page_ids[3], page_ids[3]])["succeeded"] == [page_ids[3]]
    assert "[blue.png]" not in names(call(retriever, "invoke", ImageInput(scans / "blue.png"), k=8))


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
        ({}, "one of vectorstore and index must be given"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"top_k": 3}, "Extra inputs are not permitted"),
        ({"score_threshold": float("nan")}, "finite number"),
        ({"search_kwargs": {"k": 3, "filter": {}}}, "filter, k must be the retriever's own"),
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


def test_vectors_that_cannot_be_kept_are_of_the_callers_document(make, engine, call):
    """Also beyond the first lot."""
    texts = [f"text {number}" for number in range(100)]
    engine.spoilt = "text 70"
    with pytest.raises(InputError, match="must be finite") as caught:
        call(make(), "add_documents", [Document(text) for text in texts])
    assert caught.value.index == 70


def test_an_index_has_its_own_stages(make, token_store):
    """What would not be used is refused."""
    with pytest.raises(ValidationError, match="token_store go with vectorstore="):
        make(QdrantIndex, token_store=token_store)


def test_pages_with_equal_texts_keep_their_own_vectors(retriever, scans, call):
    """A store asks for vectors by text, and these four have the same."""
    pages = [Document("a page", metadata={"image_uri": str(scans / f"{colour}.png")}) for colour in COLOURS]
    call(retriever, "add_documents", pages)
    for colour in COLOURS[:3]:
        (found,) = call(retriever, "invoke", ImageInput(scans / f"{colour}.png"), k=1)
        assert found.metadata["image_uri"].endswith(f"{colour}.png")


def test_many_documents_are_written_in_lots(make, engine, token_store, call):
    """More than one lot: all are there, in order, and each was computed once."""
    texts = [f"text {number}" for number in range(150)]
    retriever = make()
    ids = call(retriever, "add_documents", [Document(text) for text in texts])
    assert sum(engine.batches) == len(token_store) == 150
    assert names(retriever.get_by_ids(ids)) == texts


def test_nobodys_documents_are_changed(retriever, call):
    """Neither those that come nor those that are kept."""
    given = documents()
    before = copy.deepcopy(given)
    call(retriever, "add_documents", given)
    assert given == before
    (found,) = call(retriever, "invoke", QUERY, k=1)
    found.metadata["mine"] = 1
    assert all("relevance_score" not in kept.metadata for kept in retriever.get_by_ids([found.id]))


def test_a_bad_document_is_named_before_any_work(make, engine, scans, call):
    """Its image outside the roots, its type, or the number of ids."""
    retriever = make()
    secret = scans.parent / "secret.png"
    Image.new("RGB", (90, 60)).save(secret)
    for bad, error in (
        (page(secret), ImageError),
        ("a text", ItemTypeError),
        (Document(" "), InputError),
    ):
        with pytest.raises(error) as caught:
            call(retriever, "add_documents", [Document("a text"), bad])
        assert caught.value.index == 1
    with pytest.raises(InputError, match="ids must be one for each of the 4 inputs, got 1"):
        call(retriever, "add_documents", documents(), ids=["a"])
    with pytest.raises(ItemTypeError, match=r"Save it to a file inside allowed_image_roots.*"):
        call(retriever, "add_images", [Image.new("RGB", (90, 60))])
    with pytest.raises(ItemTypeError, match=r"For one item write \[item\]"):
        call(retriever, "add_images", scans / "red.png")
    assert engine.batches == []


def test_a_broken_page_is_named_by_its_position(make, scans, call):
    """Also beyond the first lot."""
    (scans / "broken.png").write_bytes(b"no picture")
    given = [*(Document(f"text {number}") for number in range(70)), page(scans / "broken.png")]
    with pytest.raises(ImageError) as caught:
        call(make(), "add_documents", given)
    assert caught.value.index == 70


def test_a_page_that_is_gone_is_named_by_its_id(make, scans, call):
    """A search that found it says which document it is, and blames no position."""
    retriever = make()
    (gone,) = retriever.add_images([scans / "red.png"])
    (scans / "red.png").unlink()
    with pytest.raises(ImageNotFoundError) as caught:
        call(retriever, "invoke", QUERY)
    assert caught.value.index is None
    assert any(gone in note for note in caught.value.__notes__)


def test_data_uris_need_no_root(embeddings, token_store, call):
    """They hold their image."""
    file = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(file, "PNG")
    retriever = JinaVLLMRetriever(vectorstore=InMemoryVectorStore(embeddings), token_store=token_store)
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    call(retriever, "add_images", [uri], metadatas=[{"source": "camera"}])
    block = {"type": "image", "base64": uri.partition(",")[2], "mime_type": "image/png"}
    (found,) = call(retriever, "invoke", block)
    assert (found.page_content, found.metadata["source"]) == ("[image]", "camera")


class EmbedsElsewhere(InMemoryVectorStore):
    """A store whose server embeds, so that it never asks for vectors."""

    def add_documents(self, documents, ids=None, **options):
        """Keep a made-up vector."""
        for document in documents:
            self.store[document.id] = {"id": document.id, "vector": [1.0], "text": document.page_content}
        return ids

    async def aadd_documents(self, documents, ids=None, **options):
        """Do the same."""
        return self.add_documents(documents, ids, **options)


class EmbedsOtherTexts(InMemoryVectorStore):
    """A store that changes texts before it embeds them."""

    def add_documents(self, documents, ids=None, **options):
        """Shout."""
        return super().add_documents([Document(d.page_content.upper(), id=d.id) for d in documents], ids, **options)

    async def aadd_documents(self, documents, ids=None, **options):
        """Shout."""
        return self.add_documents(documents, ids, **options)


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        (EmbedsElsewhere, "must ask its embeddings for the vectors"),
        (EmbedsOtherTexts, "asked for another: 'EIN BLAUES"),
    ],
)
def test_a_store_that_does_not_take_the_vectors_is_refused(make, store, rule, call):
    """Otherwise it would hold vectors of captions where those of images are meant. Nothing is deleted."""
    retriever = make(store)
    retriever.vectorstore.store["kept"] = {"id": "kept", "vector": [1.0], "text": "before", "metadata": {}}
    with pytest.raises(StoreError, match=rule):
        call(retriever, "add_documents", documents())
    assert "kept" in retriever.vectorstore.store


def test_vectors_are_for_the_stores_own_embeddings(engine, token_store):
    """Others, of an inner store with another size, compute for themselves."""
    small = InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine, dimensions=16))

    class Fans(InMemoryVectorStore):
        def add_documents(self, documents, ids=None, **options):
            small.add_documents(documents, ids, **options)
            return super().add_documents(documents, ids, **options)

    retriever = JinaVLLMRetriever(vectorstore=Fans(JinaVLLMEmbeddings(engine=engine)), token_store=token_store)
    retriever.add_documents(documents())
    assert {len(each["vector"]) for each in small.store.values()} == {16}
    assert {len(each["vector"]) for each in retriever.vectorstore.store.values()} == {64}


def test_what_a_store_starts_is_on_its_own_afterwards(make, embeddings):
    """A task that outlives the call, in a copy of its context, embeds as ever."""

    class StartsTasks(InMemoryVectorStore):
        async def aadd_documents(self, documents, ids=None, **options):
            self.task = asyncio.create_task(self.later())
            return await super().aadd_documents(documents, ids, **options)

        async def later(self):
            await self.may_go_on.wait()
            return await self.embedding.aembed_documents(["another text"])

    async def add():
        retriever = make(StartsTasks)
        retriever.vectorstore.may_go_on = asyncio.Event()
        await retriever.aadd_documents(documents())
        retriever.vectorstore.may_go_on.set()
        return await retriever.vectorstore.task

    assert asyncio.run(add()) == embeddings.embed_documents(["another text"])


class SearchesByTextOnly(VectorStore):
    """A store without a search by vector, and without its embeddings in sight."""

    def __init__(self, embeddings):
        self.inner = InMemoryVectorStore(embeddings)

    def add_texts(self, texts, metadatas=None, *, ids=None, **options):
        """Keep texts."""
        return self.inner.add_texts(texts, metadatas, ids=ids)

    def similarity_search(self, query, k=4, **options):
        """Find by text."""
        return self.inner.similarity_search(query, k, **options)

    @classmethod
    def from_texts(cls, *given, **options):
        """Not needed here."""
        raise NotImplementedError


def test_a_store_without_a_search_by_vector_is_searched_by_text(make, embeddings, scans, engine, call):
    """And says so when it is asked for an image."""
    retriever = make(SearchesByTextOnly, embeddings=embeddings)
    retriever.add_documents(documents())
    assert names(call(retriever, "invoke", QUERY, k=1)) == ["the red circle is here"]
    engine.batches.clear()
    with pytest.raises(OptionError, match="must have similarity_search_by_vector, SearchesByTextOnly has not"):
        call(retriever, "invoke", ImageInput(scans / "red.png"))
    assert engine.batches == []


@pytest.mark.parametrize("store", [in_memory, chroma, faiss_store, QdrantIndex], ids=lambda store: store.__name__)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_langchains_index_embeds_only_what_changed(make, engine, scans, store, way):
    """The second run embeds nothing, and one page with other pixels is embedded alone."""
    retriever = make(store)
    manager = InMemoryRecordManager("pages")
    manager.create_schema()

    def run():
        engine.batches.clear()
        pages = [page(scans / f"{colour}.png", source=colour) for colour in COLOURS]
        options = {"cleanup": "incremental", "source_id_key": "source", "key_encoder": "sha256"}
        if way == "sync":
            return index(pages, manager, retriever, **options)
        return asyncio.run(aindex(pages, manager, retriever, **options))

    assert run()["num_added"] == sum(engine.batches) == 4
    assert (run()["num_skipped"], engine.batches) == (4, [])
    Image.effect_noise((90, 60), 60).convert("RGB").save(scans / "red.png")
    report = run()
    assert (report["num_added"], report["num_deleted"], sum(engine.batches)) == (1, 1, 1)
    (found,) = retriever.invoke(ImageInput(scans / "red.png"), k=1)
    assert found.metadata["source"] == "red"
    assert len(retriever.invoke(QUERY, k=9)) == 4


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


class _Standard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        """What is tested."""
        return JinaVLLMRetriever

    @property
    def retriever_query_example(self):
        """A query that finds something."""
        return QUERY


@runs_coroutines
@no_warning_of_functions
class TestVectorStoreOnVLLM(_Standard):
    """LangChain's standard tests, over a vector store, on the session's vLLM."""

    @pytest.fixture(autouse=True)
    def _stages(self, vllm_engine, token_store):
        self.store = InMemoryVectorStore(JinaVLLMEmbeddings(engine=vllm_engine))
        self.token_store = token_store
        JinaVLLMRetriever(**self.retriever_constructor_params).add_documents(documents())

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        return {"vectorstore": self.store, "token_store": self.token_store}


@runs_coroutines
@no_warning_of_functions
class TestQdrantOnVLLM(_Standard):
    """LangChain's standard tests, over Qdrant, on the session's vLLM."""

    @pytest.fixture(autouse=True)
    def _stages(self, vllm_engine):
        with QdrantIndex(JinaEncoder(vllm_engine, task="retrieval"), "pages", path=":memory:") as self.index:
            JinaVLLMRetriever(index=self.index).add_documents(documents())
            yield

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        return {"index": self.index}


class TestVectorStoreIsFilled(DocumentIndexerTestSuite):
    """LangChain's standard tests of what ``index`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make()


class TestQdrantIsFilled(DocumentIndexerTestSuite):
    """LangChain's standard tests of what ``index`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make(QdrantIndex)


@runs_coroutines
class TestVectorStoreIsFilledInALoop(AsyncDocumentIndexTestSuite):
    """LangChain's standard tests of what ``aindex`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make()


@runs_coroutines
class TestQdrantIsFilledInALoop(AsyncDocumentIndexTestSuite):
    """LangChain's standard tests of what ``aindex`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make(QdrantIndex)
