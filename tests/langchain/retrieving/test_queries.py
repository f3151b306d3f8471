"""What is searched for comes as chains and agents have it."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from jina_vllm_integrations import EmptyTextError, ImageInput, ImageNotFoundError, ItemTypeError, TextImageQuery
from jina_vllm_integrations.langchain import JinaVLLMRerank, create_page_search_tool
from langchain_stores import QUERY, documents, names
from pictures import data_uri

TEXT = {"type": "text", "text": QUERY}


def image_block(scans, colour="green"):
    """Return a content block with a page."""
    return {"type": "image_url", "image_url": {"url": data_uri((scans / f"{colour}.png").read_bytes())}}


@pytest.fixture
def filled(make, scans):
    """Return a retriever of texts and pages."""
    retriever = make()
    retriever.add_documents(documents())
    retriever.add_images(sorted(scans.glob("*.png")))
    return retriever


@pytest.mark.parametrize(
    "query",
    [
        HumanMessage(QUERY),
        HumanMessage([TEXT]),
        HumanMessage([QUERY]),
        [TEXT],
        [HumanMessage(QUERY)],
        (QUERY,),
        TEXT,
        StringPromptValue(text=QUERY),
        ChatPromptValue(messages=[HumanMessage(QUERY)]),
    ],
    ids=str,
)
def test_one_text(filled, engine, query, call):
    """In a message, its content or a prompt, is that text, for retrievers and rerankers."""
    assert call(filled, "invoke", query, k=3) == call(filled, "invoke", QUERY, k=3)
    reranker = JinaVLLMRerank(engine=engine)
    given = (documents(), QUERY), (documents(), query)
    first, second = (call(reranker, "compress_documents", *each) for each in given)
    assert first == second


def test_one_image(filled, scans, call):
    """In a message or its content, is that image."""
    block = image_block(scans)
    expected = names(call(filled, "invoke", ImageInput(scans / "green.png"), k=2))
    for query in (HumanMessage([block]), [block], [HumanMessage([block])], block):
        assert names(call(filled, "invoke", query, k=2)) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"question": "train"}, r'Pass the question itself: in a chain, itemgetter\("question"\) \| retriever'),
        ({"history": [], "input": "train"}, r'itemgetter\("input"\)'),
        ({}, r"got a dict of nothing"),
        ([HumanMessage("a"), AIMessage("b")], r"one message, got 2. Pass messages\[-1\]"),
        (["a", "b"], "one of each, got 2 parts with 2 texts"),
        ([], "one of each, got 0 parts"),
        (HumanMessage([]), "one of each, got 0 parts"),
    ],
)
def test_what_is_no_query(filled, query, message, call):
    """The error names the rule, and blames no position."""
    with pytest.raises(ItemTypeError, match=message) as caught:
        call(filled, "invoke", query)
    assert caught.value.index is None


def test_a_text_and_an_image_together(filled, engine, scans, call):
    """In a message, its content or a prompt, in any order, are one query, for retrievers and rerankers."""
    block = image_block(scans)
    pair = TextImageQuery(QUERY, ImageInput(scans / "green.png"))
    expected = call(filled, "invoke", pair, k=3)
    assert names(expected) not in (names(call(filled, "invoke", each, k=3)) for each in (QUERY, block))
    reranker = JinaVLLMRerank(engine=engine)
    ranked = call(reranker, "compress_documents", documents(), pair)
    for content in ([TEXT, block], [block, QUERY]):
        for query in (content, HumanMessage(content), ChatPromptValue(messages=[HumanMessage(content)])):
            assert call(filled, "invoke", query, k=3) == expected
            assert call(reranker, "compress_documents", documents(), query) == ranked
    assert [each["index"] for each in call(reranker, "rerank", documents(), pair)] == [
        each.metadata["place"] for each in ranked
    ]


def test_a_bad_half(filled, engine, scans, call):
    """The error says which it is, and nothing is computed."""
    engine.batches.clear()
    with pytest.raises(EmptyTextError, match=r"^the query's text: ") as caught:
        call(filled, "invoke", [{"type": "text", "text": " "}, image_block(scans)])
    assert caught.value.index is None
    with pytest.raises(ImageNotFoundError, match=r"^the query's image: "):
        call(filled, "invoke", TextImageQuery(QUERY, "nowhere.png"))
    assert not engine.batches


def test_pages_that_several_queries_find_are_united(make, call):
    """Without a score in their metadata they are equal, as what unites the results of several queries needs."""
    retriever = make(score_key=None)
    given = documents()
    retriever.add_documents(given)
    found = [*call(retriever, "invoke", QUERY), *call(retriever, "invoke", "blaues Quadrat")]
    unique = [each for position, each in enumerate(found) if each not in found[:position]]
    assert sorted(each.id for each in unique) == [each.id for each in given]
    assert all(each.metadata == {"place": each.metadata["place"]} for each in found)
    reranker = JinaVLLMRerank(engine=retriever.vectorstore.embeddings.engine, score_key=None, top_n=None)
    ranked = call(reranker, "compress_documents", given, QUERY)
    assert sorted(ranked, key=lambda each: each.id) == given
    assert [each.id for each in ranked] == [each.id for each in found[: len(given)]]


def test_the_score_goes_where_it_is_wanted(make, call):
    """And the tool that shows pages finds it there; a threshold needs no key."""
    retriever = make(score_key="maxsim")
    retriever.add_documents(documents())
    (found,) = call(retriever, "invoke", QUERY, k=1)
    assert found.metadata.keys() == {"place", "maxsim"}
    shown = create_page_search_tool(retriever).invoke({"query": QUERY})
    assert f"score {found.metadata['maxsim']:.3f}" in shown[0]["text"]
    silent = retriever.model_copy(update={"score_key": None})
    assert len(call(silent, "invoke", QUERY, score_threshold=found.metadata["maxsim"] - 1e-6)) == 1
