"""Nodes that LlamaIndex's stores find and that cannot be ranked, and those that the reranker is given."""

from __future__ import annotations

import asyncio
import logging

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode

from fake_engines import DyingEngine
from jina_vllm_integrations import EngineDiedError
from jina_vllm_integrations.llama_index import (
    JinaVLLMEmbedding,
    JinaVLLMMultiVectorRetriever,
    JinaVLLMRerank,
    create_page_search_tool,
)
from pictures import scans_of

QUERY = "where is the red circle"
NAN = float("nan")


@pytest.fixture
def scans(tmp_path):
    """Return a folder with two pages."""
    return scans_of(tmp_path, ("red", "green"))


@pytest.fixture
def filled(engine, scans):
    """Return a maker of retrievers over two pages and a text, of which the red page's file is broken."""
    picture = (scans / "red.png").read_bytes()

    def filled(**options):
        (scans / "red.png").write_bytes(picture)
        embedding = JinaVLLMEmbedding(engine=engine)
        index = VectorStoreIndex([], embed_model=embedding)
        retriever = JinaVLLMMultiVectorRetriever(
            index=index, embedding=embedding, allowed_image_roots=[scans], **options
        )
        pages = [ImageNode(id_=name, image_path=str(scans / f"{name}.png")) for name in ("red", "green")]
        retriever.insert_nodes([*pages, TextNode(id_="text", text="the red circle")])
        (scans / "red.png").write_bytes(b"no picture")
        return retriever

    return filled


@pytest.fixture(params=["sync", "async"])
def retrieve(request):
    """Return what asks a retriever, in both ways."""
    if request.param == "sync":
        return lambda retriever: retriever.retrieve(QUERY)
    return lambda retriever: asyncio.run(retriever.aretrieve(QUERY))


@pytest.fixture(params=["sync", "async"])
def rerank(request):
    """Return what reranks nodes, in both ways."""

    def rerank(reranker, nodes):
        found = [NodeWithScore(node=node, score=0.5) for node in nodes]
        if request.param == "sync":
            return reranker.postprocess_nodes(found, query_bundle=QueryBundle("cat"))
        return asyncio.run(reranker.apostprocess_nodes(found, query_bundle=QueryBundle("cat")))

    return rerank


def ids(found):
    """Return the ids of nodes."""
    return [each.node_id for each in found]


def test_a_page_that_is_gone_does_not_take_the_others_along(filled, retrieve, caplog):
    """They are ranked; it is left out, and logged once by its id, however often it is found."""
    retriever = filled()
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        for _ in range(2):
            assert sorted(ids(retrieve(retriever))) == ["green", "text"]
    (record,) = caplog.records
    assert "the node 'red', which was found, cannot be ranked and is left out: " in record.getMessage()


def test_a_page_that_is_gone_may_come_last(filled, retrieve):
    """Without a score, as long as there is room; a threshold is one that it does not reach."""
    *ranked, gone = retrieve(filled(on_found_error="last"))
    assert (gone.node_id, gone.score) == ("red", None)
    assert all(isinstance(each.score, float) for each in ranked)
    assert ids(retrieve(filled(on_found_error="last", similarity_top_k=2))) == ids(ranked)
    assert ids(retrieve(filled(on_found_error="last", score_threshold=-1.0))) == ids(ranked)


def test_an_agent_is_shown_the_others(filled):
    """Its tool goes on, too."""
    output = create_page_search_tool(filled(), image_mode="none").call(query=QUERY)
    assert len(output.blocks) == 2


def test_an_engine_that_dies_is_no_bad_page():
    """Its error is raised, whatever was chosen."""
    with DyingEngine(3) as engine:
        embedding = JinaVLLMEmbedding(engine=engine)
        index = VectorStoreIndex([], embed_model=embedding)
        retriever = JinaVLLMMultiVectorRetriever(index=index, embedding=embedding, on_found_error="skip")
        retriever.insert_nodes([TextNode(text="a"), TextNode(text="b")])
        with pytest.raises(EngineDiedError):
            retriever.retrieve(QUERY)


@pytest.mark.parametrize("value", ["cat.jpg", "", True, NAN, ["a"], {"a": 1}, "https://shop.example/cat.jpg", None])
def test_a_column_of_a_common_name_is_not_ours(engine, rerank, value):
    """A node with an ``image`` that is something else is a text."""
    nodes = [TextNode(text="a red cat", metadata={"image": value}), TextNode(text="dog")]
    assert sorted(each.text for each in rerank(JinaVLLMRerank(engine=engine), nodes)) == ["a red cat", "dog"]


BAD = [True, NAN, ["a"], {"a": 1}, "https://shop.example/cat.jpg", "cat.jpg", "/etc/passwd", "data:image/png;base64,?"]


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_our_own_key_may_hold_anything(engine, rerank, caplog, value):
    """Then that node is bad, not the call; and it is passed back last where that was chosen."""
    nodes = [TextNode(text="a red cat", id_="cat", metadata={"image_uri": value}), TextNode(text="dog")]
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        (dog,) = rerank(JinaVLLMRerank(engine=engine), nodes)
    assert dog.text == "dog"
    assert "'cat'" in caplog.text
    _, cat = rerank(JinaVLLMRerank(engine=engine, on_found_error="last"), nodes)
    assert (cat.node_id, cat.score) == ("cat", None)


def test_nothing_under_our_key_is_a_text(engine, rerank):
    """As a table has it."""
    nodes = [TextNode(text="cat", metadata={"image_uri": ""}), TextNode(text="dog", metadata={"image_uri": None})]
    assert len(rerank(JinaVLLMRerank(engine=engine), nodes)) == 2


def test_empty_and_overlong_texts_are_left_out(engine, rerank):
    """Among good ones, and also where the choice is changed later."""
    nodes = [TextNode(text=" "), TextNode(text="dog"), TextNode(text="b " * 200_000)]
    reranker = JinaVLLMRerank(engine=engine)
    assert [each.text for each in rerank(reranker, nodes)] == ["dog"]
    reranker.on_found_error = "last"
    assert len(rerank(reranker, nodes)) == 3
