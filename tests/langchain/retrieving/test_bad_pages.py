"""Documents that LangChain's stores find and that cannot be ranked, and those that the reranker is given."""

from __future__ import annotations

import logging

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from fake_engines import DyingEngine
from jina_vllm_integrations import EngineDiedError, ImageNotFoundError
from jina_vllm_integrations.langchain import (
    JinaVLLMEmbeddings,
    JinaVLLMRerank,
    JinaVLLMRetriever,
    create_page_search_tool,
)
from langchain_stores import QUERY, page

NAN = float("nan")


@pytest.fixture
def filled(make, scans):
    """Return a maker of retrievers over two pages and a text, of which the red page's file is gone."""

    def filled(**fields):
        retriever = make(**fields)
        retriever.add_documents(
            [page(scans / "red.png"), page(scans / "green.png"), Document("the red circle")],
            ids=["gone", "page", "text"],
        )
        (scans / "red.png").write_bytes(b"no picture")
        return retriever

    return filled


def ids(found):
    """Return the ids of documents."""
    return [document.id for document in found]


def test_a_page_that_is_gone_does_not_take_the_others_along(filled, call, caplog):
    """They are ranked; it is left out, and logged once by its id, however often it is found."""
    retriever = filled(token_store=None)
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        for _ in range(2):
            found = call(retriever, "invoke", QUERY)
            assert sorted(ids(found)) == ["page", "text"]
    (record,) = caplog.records
    assert "the document 'gone', which was found, cannot be ranked and is left out: " in record.getMessage()


def test_a_page_that_is_gone_may_come_last(filled, call):
    """Without a score, as long as there is room; a threshold is one that it does not reach."""
    retriever = filled(token_store=None, on_found_error="last")
    *ranked, gone = call(retriever, "invoke", QUERY)
    assert gone.id == "gone"
    assert "relevance_score" not in gone.metadata
    assert all("relevance_score" in document.metadata for document in ranked)
    assert ids(call(retriever, "invoke", QUERY, k=2)) == ids(ranked)
    assert ids(call(retriever, "invoke", QUERY, score_threshold=-1.0)) == ids(ranked)


def test_where_all_are_gone_nothing_is_found(make, scans, call):
    """That is no error."""
    retriever = make(token_store=None)
    retriever.add_images([scans / "red.png"])
    (scans / "red.png").unlink()
    assert call(retriever, "invoke", QUERY) == []
    assert create_page_search_tool(retriever).invoke({"query": QUERY}) is not None


def test_an_agent_is_shown_the_others(filled):
    """Its tool goes on, too."""
    blocks = create_page_search_tool(filled(token_store=None), image_mode="none").invoke({"query": QUERY})
    assert len(blocks) == 2


def test_an_engine_that_dies_is_no_bad_page(scans):
    """Its error is raised, whatever was chosen."""
    with DyingEngine(3) as engine:
        retriever = JinaVLLMRetriever(
            vectorstore=InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine)), on_found_error="skip"
        )
        retriever.add_documents([Document("a"), Document("b")])
        with pytest.raises(EngineDiedError):
            retriever.invoke(QUERY)


@pytest.mark.parametrize("value", ["cat.jpg", "", True, NAN, ["a"], {"a": 1}, "https://shop.example/cat.jpg", None])
def test_a_column_of_a_common_name_is_not_ours(engine, call, value):
    """A document with an ``image`` that is something else is a text, to be added, found and ranked."""
    documents = [Document("a red cat", metadata={"image": value}), Document("dog")]
    found = call(JinaVLLMRerank(engine=engine), "compress_documents", documents, "cat")
    assert sorted(document.page_content for document in found) == ["a red cat", "dog"]


BAD = [True, NAN, ["a"], {"a": 1}, "https://shop.example/cat.jpg", "cat.jpg", "/etc/passwd", "data:image/png;base64,?"]


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_our_own_key_may_hold_anything(engine, call, caplog, value):
    """Then that document is bad, not the call; and it is passed back last where that was chosen."""
    documents = [Document("a red cat", id="cat", metadata={"image_uri": value, "relevance_score": 9}), Document("dog")]
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        (dog,) = call(JinaVLLMRerank(engine=engine), "compress_documents", documents, "cat")
    assert dog.page_content == "dog"
    assert "'cat'" in caplog.text
    _, cat = call(JinaVLLMRerank(engine=engine, on_found_error="last"), "compress_documents", documents, "cat")
    assert repr(cat.metadata) == repr({"image_uri": value})


def test_nothing_under_our_key_is_a_text(engine, call):
    """As a table has it."""
    documents = [Document("cat", metadata={"image_uri": ""}), Document("dog", metadata={"image_uri": None})]
    assert len(call(JinaVLLMRerank(engine=engine), "compress_documents", documents, "cat")) == 2


def test_empty_and_overlong_texts_are_left_out(engine, call):
    """Among good ones."""
    documents = [Document(" "), Document("dog"), Document("b " * 200_000)]
    (dog,) = call(JinaVLLMRerank(engine=engine), "compress_documents", documents, "cat")
    assert dog.page_content == "dog"


def test_what_is_passed_to_rerank_is_the_callers(engine, call):
    """And strict."""
    with pytest.raises(ImageNotFoundError):
        call(
            JinaVLLMRerank(engine=engine, allowed_image_roots=["/"]),
            "rerank",
            [Document("", metadata={"image_uri": "/gone.png"})],
            "cat",
        )
