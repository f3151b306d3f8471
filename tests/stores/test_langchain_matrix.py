"""Each store of LangChain's under our retriever: what it does, or which error the user gets."""

from __future__ import annotations

from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from jina_vllm_integrations import ImageInput
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from langchain_stores import COLOURS, QUERY, TEXTS, names
from other_langchain_stores import ROWS
from other_stores import OTHERS_WARNINGS, in_slice, numbers

pytestmark = OTHERS_WARNINGS

BEST = "the red circle is here"


@pytest.fixture(params=in_slice(ROWS, {"in_memory", "chroma"}))
def row(request):
    """Return what is known of a store."""
    return request.param


@pytest.fixture
def place(place_for, row):
    """Return where its store is."""
    return place_for(row)


@pytest.fixture
def retriever(row, place, engine, token_store, scans):
    """Return a retriever over an empty store."""
    embeddings = JinaVLLMEmbeddings(engine=engine)
    return JinaVLLMRetriever(
        vectorstore=row.make(embeddings, place),
        embeddings=embeddings,
        token_store=token_store,
        allowed_image_roots=(scans,),
    )


@pytest.fixture
def call(place, retriever):
    """Return what calls a method of the retriever, or its asynchronous twin."""
    return lambda method, *given, **options: place.call(retriever, method, *given, **options)


@pytest.fixture
def reindex(place, retriever, call):
    """Return what has LangChain index texts, and returns what it counted, and what is found afterwards."""
    manager = InMemoryRecordManager("pages")
    manager.create_schema()
    test = next(numbers)  # ids are hashes of all that documents say, and no two tests may have the same: PGVector

    def reindex(texts):
        given = [Document(text, metadata={"place": TEXTS.index(text), "test": test}) for text in texts]
        options = {"cleanup": "full", "key_encoder": "sha256"}
        if place.way == "sync":
            report = index(given, manager, retriever, **options)
        else:
            report = place.runner.run(aindex(given, manager, retriever, **options))
        counted = {what.removeprefix("num_"): number for what, number in report.items() if number}
        return counted, set(names(call("invoke", QUERY, k=9)))

    return reindex


def documents():
    """Return documents whose ids no other test has."""
    return [Document(text, id=str(uuid4()), metadata={"place": place}) for place, text in enumerate(TEXTS)]


def pages(scans):
    """Return pages as a loader makes them, with the keys that all documents have here."""
    return [
        Document(colour, id=str(uuid4()), metadata={"place": 10, "image_uri": str(scans / f"{colour}.png")})
        for colour in COLOURS
    ]


def test_add(row, call):
    """One id for each comes back, and all are found."""
    with row.cell("add"):
        assert len(set(call("add_documents", documents()))) == 4
        assert set(names(call("invoke", QUERY, k=9))) == set(TEXTS)


def test_search_by_text(row, call):
    """The text with the most words of the query comes first, as it was, with its score."""
    given = documents()
    call("add_documents", given)
    with row.cell("text"):
        (found,) = call("invoke", QUERY, k=1)
        assert (found.page_content, found.metadata["place"]) == (BEST, 1)
        assert found.metadata["relevance_score"] > 0
        assert found.id == (given[1].id if row.finds_ids else None)


def test_search_by_image(row, call, scans):
    """A picture finds the page that shows it, among texts."""
    call("add_documents", [*pages(scans), *documents()])
    with row.cell("image"):
        for colour in ("green", "blue"):
            (found,) = call("invoke", ImageInput(scans / f"{colour}.png"), k=1)
            assert found.page_content == colour
            assert found.metadata["relevance_score"] == pytest.approx(1, abs=1e-3)


def test_filter(row, call):
    """In the store's own form, only what fits is found."""
    call("add_documents", documents())
    with row.cell("filter"):
        assert names(call("invoke", QUERY, **row.only)) == [TEXTS[2]]


def test_delete(row, call):
    """What was deleted by its id is found no more, and all else is."""
    ids = call("add_documents", documents())
    with row.cell("delete"):
        assert call("delete", ids[:1])["num_failed"] == 0
        assert set(names(call("invoke", QUERY, k=9))) == set(TEXTS[1:])


def test_replace(row, call):
    """What is added under an id that is there is found; what was there is not, where the store replaces."""
    (given, *_) = documents()
    call("add_documents", [given])
    with row.cell("replace"):
        call("add_documents", [Document("quite another text", id=given.id, metadata={"place": 7})])
        kept = set() if row.replaces else {TEXTS[0]}
        assert set(names(call("invoke", QUERY, k=9))) == {"quite another text", *kept}


def test_index_unchanged(row, reindex):
    """A second run adds nothing."""
    with row.cell("unchanged"):
        assert reindex(TEXTS[:3])[0] == {"added": 3}
        assert reindex(TEXTS[:3]) == ({"skipped": 3}, set(TEXTS[:3]))


def test_index_changed(row, reindex):
    """What has changed takes the place of what it was."""
    with row.cell("changed"):
        reindex(TEXTS[:3])
        assert reindex([TEXTS[3], *TEXTS[1:3]]) == ({"added": 1, "skipped": 2, "deleted": 1}, set(TEXTS[1:]))


def test_index_removed(row, reindex):
    """What is no longer given is deleted."""
    with row.cell("removed"):
        reindex(TEXTS)
        assert reindex(TEXTS[:2]) == ({"skipped": 2, "deleted": 2}, set(TEXTS[:2]))


def test_get(row, call):
    """By their ids, as they were."""
    given = documents()
    call("add_documents", given)
    with row.cell("get"):
        found = call("get_by_ids", [given[0].id, given[2].id])
        assert {document.id: document for document in found} == {each.id: each for each in (given[0], given[2])}
