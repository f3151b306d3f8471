"""The tool searches with whatever LangChain can make of a retriever."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore

from jina_vllm_integrations import OptionError
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever, create_page_search_tool
from langchain_tool import Pages, both_ways, call


@pytest.fixture
def retriever(engine, scans):
    """Return a retriever over 12 texts, which may read a folder."""
    store = InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine))
    retriever = JinaVLLMRetriever(vectorstore=store, allowed_image_roots=(scans,))
    retriever.add_documents([Document(f"the red circle {number}") for number in range(12)])
    return retriever


@pytest.mark.parametrize(
    "made",
    [
        lambda retriever: retriever.with_config(tags=["x"]),
        lambda retriever: retriever.with_config(tags=["x"]).with_retry(),
        lambda retriever: retriever.configurable_fields(fetch_k=ConfigurableField("fetch_k")),
        lambda retriever: retriever.configurable_alternatives(ConfigurableField("which"), other=retriever),
        lambda retriever: Pages(documents=[]).with_fallbacks([]) | RunnableLambda(lambda _: "red") | retriever,
        lambda retriever: retriever.with_fallbacks([Pages(documents=[])]),
        lambda retriever: PromptTemplate.from_template("where is {it}") | retriever,
        lambda retriever: (
            ChatPromptTemplate.from_messages([("user", "where is {it}")]) | retriever.with_config(tags=["x"])
        ),
    ],
)
def test_any_runnable_that_finds_documents(made, retriever, scans):
    """It is told how many pages the model asked for, and what its retriever may read may be shown."""
    tool = create_page_search_tool(made(retriever))
    for arguments, number in (({}, 4), ({"k": 7}, 7)):
        for answer in both_ways(tool, call(**arguments)):
            assert len(answer.artifact) == len(answer.content) == number
    retriever.add_images([scans / "red.png"])
    for answer in both_ways(create_page_search_tool(made(retriever), k=10, max_k=20), call(k=13)):
        assert [block["type"] for block in answer.content].count("image") == 1


def test_a_fallback_is_asked_where_the_first_fails(retriever):
    """With the same number."""

    def fail(_):
        raise ConnectionError

    tool = create_page_search_tool(RunnableLambda(fail).with_fallbacks([retriever]))
    for answer in both_ways(tool, call(k=2)):
        assert len(answer.artifact) == 2


def test_functions_over_what_was_found_have_the_last_word(retriever):
    """As many as they return, at most as many as were asked for."""
    chain = retriever | RunnableLambda(lambda documents: documents[:3])
    for answer in both_ways(create_page_search_tool(chain), call(k=9)):
        assert len(answer.artifact) == 3
    bound = create_page_search_tool(retriever.bind(k=2))
    for answer in both_ways(bound, call(k=9)):
        assert len(answer.artifact) == 2


def test_what_finds_no_documents_is_named():
    """When it is called, because no type says so before."""
    tool = create_page_search_tool(RunnableLambda(str.upper))
    with pytest.raises(OptionError, match=r"must return a list of documents, got str 'WHERE.*Pass a retriever"):
        tool.invoke(call())
