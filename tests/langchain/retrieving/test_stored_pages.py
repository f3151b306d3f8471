"""Pages whose token vectors are stored, which LangChain's retriever ranks without their files."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRerank
from jina_vllm_integrations.testing import FakeEngine
from langchain_stores import COLOURS, QUERY, STORES, page

IDS = {colour: f"00000000-0000-0000-0000-{index:012}" for index, colour in enumerate(COLOURS)}


@pytest.fixture
def fill(scans):
    """Return what adds the pages to a retriever."""
    return lambda retriever: retriever.add_documents(
        [page(scans / f"{colour}.png") for colour in COLOURS], ids=list(IDS.values())
    )


def plain(found):
    """Return what was found, without what a store adds."""
    return [
        (each.id, {name: value for name, value in each.metadata.items() if not name.startswith("_")}) for each in found
    ]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)
def test_stored_pages_need_no_files(make, scans, fill, engine, call, store):
    """Neither to be ranked nor to have the same scores; and they come back as they were given."""
    retriever = make(store)
    fill(retriever)
    before = call(retriever, "invoke", QUERY)
    given = {IDS[colour]: page(scans / f"{colour}.png").metadata for colour in COLOURS}
    engine.batches.clear()
    for colour in COLOURS:
        (scans / f"{colour}.png").unlink()
    after = call(retriever, "invoke", QUERY)
    assert plain(after) == plain(before)
    assert engine.batches == [1]
    for name, metadata in plain(after):
        metadata.pop("relevance_score")
        assert metadata == given[name]
    assert dict(plain(call(retriever, "get_by_ids", list(given)))) == given


def test_a_reranker_needs_no_files_either(make, scans, fill, engine, token_store, call):
    """Where it has the token store, and the vector store finds by itself."""
    retriever = make()
    fill(retriever)
    (scans / "red.png").unlink()
    found = retriever.vectorstore.similarity_search(QUERY, k=4)
    reranker = JinaVLLMRerank(engine=engine, store=token_store, allowed_image_roots=[scans], top_n=None)
    assert len(call(reranker, "compress_documents", found, QUERY)) == 4
    assert len(call(reranker.model_copy(update={"store": None}), "compress_documents", found, QUERY)) == 3


@pytest.mark.parametrize("other", ["model", "dtype", "roots", "image", "forged", "broken"])
def test_a_note_leads_to_no_other_vectors(make, scans, fill, call, tmp_path, other):
    """By another model or dtype, of another image, or where the file must not be read, the note is passed over."""
    retriever = make()
    fill(retriever)
    kept = [*retriever.vectorstore.store.values()]
    for colour in COLOURS:
        (scans / f"{colour}.png").unlink()
    if other == "dtype":
        with TokenStore(tmp_path / "other", dtype="int8") as store:
            assert call(retriever.model_copy(update={"token_store": store}), "invoke", QUERY) == []
        return
    if other == "model":
        with FakeEngine() as another:
            another.fingerprint = "of other weights"
            vectorstore = InMemoryVectorStore(JinaVLLMEmbeddings(engine=another))
            vectorstore.store = retriever.vectorstore.store
            assert call(retriever.model_copy(update={"vectorstore": vectorstore}), "invoke", QUERY) == []
        return
    if other == "roots":
        assert call(retriever.model_copy(update={"allowed_image_roots": ()}), "invoke", QUERY) == []
        return
    for each in kept:
        match other:
            case "image":
                each["metadata"]["image_uri"] = str(scans / "another.png")
            case "forged":
                each["metadata"]["jina_vllm_content"] = "0" * 64 + "-" + "0" * 16
            case "broken":
                each["metadata"]["jina_vllm_content"] = ["no note"]
    assert call(retriever, "invoke", QUERY) == []


def test_pages_that_were_indexed_before_are_ranked_by_their_files(make, scans, fill, call):
    """Without a note; and texts and pages without a token store get none."""
    retriever = make()
    fill(retriever)
    noted = call(retriever, "invoke", QUERY)
    retriever.add_documents([Document("a text", id="text")])
    assert "jina_vllm_content" not in retriever.vectorstore.store["text"]["metadata"]
    for each in retriever.vectorstore.store.values():
        each["metadata"].pop("jina_vllm_content", None)
    retriever.delete(["text"])
    assert plain(call(retriever, "invoke", QUERY)) == plain(noted)
    alone = make(token_store=None)
    fill(alone)
    assert not any("jina_vllm_content" in each["metadata"] for each in alone.vectorstore.store.values())


def test_what_is_added_again_is_noted_anew(make, scans, fill):
    """A document that brings another image's note, say from a search of the vector store, is not believed."""
    retriever = make()
    fill(retriever)
    (red,) = retriever.vectorstore.get_by_ids([IDS["red"]])
    red.metadata["image_uri"] = str(scans / "blue.png")
    retriever.add_documents([red])
    notes = {name: each["metadata"]["jina_vllm_content"] for name, each in retriever.vectorstore.store.items()}
    assert notes[IDS["red"]] == notes[IDS["blue"]]
