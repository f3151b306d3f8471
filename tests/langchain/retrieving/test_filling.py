"""What LangChain's retriever writes: documents and pages, into stores of many kinds."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from PIL import Image
from pydantic import ValidationError

from jina_vllm_integrations import (
    ImageError,
    ImageInput,
    ImageNotFoundError,
    InputError,
    ItemTypeError,
    OptionError,
    StoreError,
)
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever, PageImageLoader
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import COLOURS, QUERY, chroma, documents, faiss_store, in_memory, names, page, qdrant


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
    """A search that found it says which document it is, and blames no position, where that was chosen."""
    retriever = make(on_found_error="raise", token_store=None)
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


def test_bad_documents_are_skipped_by_their_ids(retriever, scans, call, caplog):
    """Whatever is wrong with them; the ids of the others come back, and the list says who is missing and why."""
    given = [
        Document("a page", id=str(uuid4()), metadata=metadata)
        for metadata in (
            {"image_uri": str(scans / "red.png")},
            {"image_uri": str(scans / "missing.png")},
            {"image_uri": "/etc/passwd"},
            {"image_uri": 7},
            {"image_uri": str(scans / "blue.png")},
        )
    ]
    ids = call(retriever, "add_documents", [*given, Document(" ")], on_error="skip")
    assert ids == [given[0].id, given[4].id]
    assert [each.index for each in ids.skipped] == [1, 2, 3, 5]
    assert [each.name for each in ids.skipped][:3] == [document.id for document in given[1:4]]
    assert all(f"skipped {each.name}: " in caplog.text for each in ids.skipped)
    assert {found.id for found in call(retriever, "invoke", "a page", k=4)} == set(ids)
    assert call(retriever, "add_documents", given[1:2], on_error="skip") == []
    assert (
        call(retriever, "add_images", [scans / "green.png", scans / "gone.png"], on_error="skip").skipped[0].index == 1
    )
    with pytest.raises(OptionError, match="on_error must be one of"):
        call(retriever, "add_documents", given[:1], on_error="last")


def test_images_of_equal_names_have_texts_of_their_own(make, scans, call):
    """By their paths from the folder above them, because LangChain takes documents with equal texts for one."""
    other = scans.parent / "more" / "scans"
    other.mkdir(parents=True)
    Image.new("RGB", (90, 60), "red").save(other / "red.png")
    retriever = make(allowed_image_roots=(scans.parent,))
    call(retriever, "add_images", [scans / "red.png", other / "red.png"])
    found = [document.page_content for document in call(retriever, "invoke", QUERY)]
    assert sorted(found) == ["[more/scans/red.png]", "[scans/red.png]"]


@pytest.mark.parametrize("store", [in_memory, chroma, qdrant, QdrantIndex], ids=lambda store: store.__name__)
def test_images_that_are_added_again_take_their_own_places(make, scans, store, call):
    """Which are the loader's; an image that comes twice in one call is there twice."""
    retriever = make(store)
    given = [scans / "red.png", str(scans / "blue.png"), scans / "red.png"]
    ids = call(retriever, "add_images", given, metadatas=[{"year": 1}, {"year": 2}, {"year": 3}])
    assert call(retriever, "add_images", given) == ids
    assert len(set(ids)) == 3
    assert len(call(retriever, "invoke", QUERY, k=9)) == 3
    assert [page.id for page in PageImageLoader([scans / "red.png", scans / "blue.png"]).load()] == ids[:2]
