"""LangChain's tool that searches pages: agents, retrievers of many kinds, traces, options."""

from __future__ import annotations

import asyncio
import threading

import pytest
from langchain.agents import create_agent
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from pydantic import ValidationError

from jina_vllm_integrations import EngineDiedError, OptionError
from jina_vllm_integrations.adapters.thumbnails import Thumbnails
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, create_page_search_tool
from jina_vllm_integrations.testing import FakeEngine
from langchain_tool import QUERY, CountingPages, Pages, answer, both_ways, call, colour, made, two_pages

# The suites have coroutines beside functions, and pytest-asyncio warns of a mark on the latter.
runs_coroutines = pytest.mark.asyncio

no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)


class NamingPages(CountingPages):
    """Takes a number by its name."""

    def _get_relevant_documents(self, query, *, run_manager, k=3):
        return super()._get_relevant_documents(query, run_manager=run_manager, k=k)

    async def _aget_relevant_documents(self, query, *, run_manager, k=3):
        return self._get_relevant_documents(query, run_manager=run_manager, k=k)


class OtherPages(CountingPages):
    """Takes something else, and a number in synchronous calls only."""

    def _get_relevant_documents(self, query, *, run_manager, language="en", k=3):
        return super()._get_relevant_documents(query, run_manager=run_manager, k=k)

    async def _aget_relevant_documents(self, query, *, run_manager, language="en"):
        return self._get_relevant_documents(query, run_manager=run_manager)


class Reader(BaseChatModel):
    """Searches once, looks at the answer, and says what it saw."""

    arguments: dict

    @property
    def _llm_type(self):
        return "reader"

    def bind_tools(self, tools, **_options):
        """Take the tools as they come."""
        assert [tool.name for tool in tools] == ["search_pages"]
        return self

    def _generate(self, messages, stop=None, run_manager=None, **_options):
        last = messages[-1]
        if isinstance(last, ToolMessage):
            message = AIMessage(self._seen(last))
        else:
            call = {"name": "search_pages", "args": self.arguments, "id": "call 1", "type": "tool_call"}
            message = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _seen(self, answer):
        if isinstance(answer.content, str):
            return answer.content
        return ", ".join(
            colour(block) if block["type"] == "image" else block["text"].splitlines()[0]
            for block in answer.content_blocks
        )


class Traces(BaseCallbackHandler):
    """Notes which run is inside which, with its tags."""

    def __init__(self):
        self.tools = {}
        self.retrievers = {}

    def on_tool_start(self, _serialized, _input, *, run_id, tags=None, **_more):
        """Note a tool's run."""
        self.tools[run_id] = tags

    def on_retriever_start(self, _serialized, _query, *, parent_run_id=None, tags=None, **_more):
        """Note a retriever's run."""
        self.retrievers[parent_run_id] = tags


class TestUnit(ToolsUnitTests):
    """LangChain's standard tests that call nothing."""

    @property
    def tool_constructor(self):
        """What is tested."""
        return made(two_pages())

    @property
    def tool_invoke_params_example(self):
        """What a model passes."""
        return {"query": QUERY, "k": 1}


@runs_coroutines
@no_warning_of_functions
class TestIntegration(ToolsIntegrationTests):
    """LangChain's standard tests that search."""

    @property
    def tool_constructor(self):
        """What is tested."""
        return made(two_pages())

    @property
    def tool_invoke_params_example(self):
        """What a model passes."""
        return {"query": QUERY}


def test_an_agent_sees_the_pages():
    """In LangGraph's loop text and image blocks arrive whole, and the documents beside them."""
    documents = two_pages()
    agent = create_agent(Reader(arguments={"query": QUERY}), [made(documents)])
    given = {"messages": [HumanMessage(QUERY)]}
    for state in (agent.invoke(given), asyncio.run(agent.ainvoke(given))):
        *_, found, last = state["messages"]
        assert last.content == "[1] a.pdf, page 1, score 0.712, red, [2] b.pdf, page 12, blue"
        assert [block["type"] for block in found.content] == ["text", "image", "text", "image"]
        assert found.content_blocks == found.content
        assert (found.status, found.artifact) == ("success", documents)
        assert all(one is other for one, other in zip(found.artifact, documents, strict=True))


@pytest.mark.parametrize("arguments", [{}, {"query": " \n"}, {"query": QUERY, "k": 11}, {"query": QUERY, "k": 0}])
def test_an_agent_is_told_of_wrong_arguments(arguments):
    """Before anything is searched, and so that it can try again."""
    pages = Pages(documents=two_pages())
    agent = create_agent(Reader(arguments=arguments), [create_page_search_tool(pages)])
    state = agent.invoke({"messages": [HumanMessage(QUERY)]})
    *_, found, last = state["messages"]
    assert found.status == "error"
    assert "search_pages" in last.content
    assert pages.queries == []


def test_what_a_model_is_told():
    """The arguments with their bounds, and what comes back."""
    function = convert_to_openai_tool(made([], k=2, max_k=5))["function"]
    properties = function["parameters"]["properties"]
    assert (function["name"], function["parameters"]["required"]) == ("search_pages", ["query"])
    assert {name: properties["k"][name] for name in ("default", "minimum", "maximum")} == {
        "default": 2,
        "minimum": 1,
        "maximum": 5,
    }
    assert all(each["description"] for each in properties.values())
    assert "followed by an image of the page" in function["description"]
    assert "the path or URL of its image" in made([], image_mode="reference").description
    assert "image" not in made([], image_mode="none").description
    custom = made([], name="search_invoices", description="Invoices since 2019.")
    assert (custom.name, custom.description) == ("search_invoices", "Invoices since 2019.")


def test_nothing_found():
    """Is said, with what to do about it."""
    for found in both_ways(made([]), call()):
        (block,) = found.content
        assert block["type"] == "text"
        assert "Search again in other words" in block["text"]
        assert found.artifact == []


def test_the_number_of_pages():
    """Is the tool's unless the model asks for another, and cut off where the retriever does not know of it."""
    documents = [Document(str(index)) for index in range(20)]
    tool = made(documents, k=2)
    for arguments, n_pages in (({}, 2), ({"k": 1}, 1), ({"k": 10}, 10)):
        for found in both_ways(tool, call(**arguments)):
            assert len(found.content) == n_pages
            assert found.artifact == documents[:n_pages]
    assert tool.invoke(call(k=4)).content[-1]["text"] == "[4]\n3"


@pytest.mark.parametrize("kind", [CountingPages, NamingPages])
def test_a_retriever_that_takes_a_number_is_given_it(kind):
    """Whether it names it or takes any keyword beside a number of its own."""
    pages = kind(documents=[Document(str(index)) for index in range(20)])
    tool = create_page_search_tool(pages, k=7)
    assert len(answer(tool)) == 7
    assert len(answer(tool, k=1)) == 1
    assert pages.numbers == [7, 7, 1, 1]


def test_a_retriever_that_takes_a_number_one_way_is_given_it_that_way():
    """LangChain would raise ``TypeError`` the other way."""
    pages = OtherPages(documents=[Document(str(index)) for index in range(20)])
    assert [len(found.content) for found in both_ways(create_page_search_tool(pages), call(k=5))] == [5, 3]
    assert pages.numbers == [5, 3]


def test_a_vector_store_is_given_the_number():
    """Its retriever would return four."""
    with FakeEngine() as engine:
        store = InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine))
        store.add_texts([str(index) for index in range(9)])
        assert len(answer(create_page_search_tool(store.as_retriever()), k=6)) == 6


def test_a_compressing_retriever_chooses_among_all():
    """It takes any keyword and would hand the number on, so that there would be nothing to choose from."""
    pages = CountingPages(documents=[Document(str(index)) for index in range(20)], k=20)
    compressing = ContextualCompressionRetriever(
        base_retriever=pages, base_compressor=DocumentCompressorPipeline(transformers=[])
    )
    assert len(answer(create_page_search_tool(compressing), k=2)) == 2
    assert pages.numbers == [20, 20]


def test_a_query_without_a_dict_uses_the_defaults():
    """As LangChain allows for a tool's first argument."""
    pages = Pages(documents=two_pages())
    assert [len(found) for found in both_ways(create_page_search_tool(pages, k=1), QUERY)] == [2, 2]
    assert pages.queries == [QUERY, QUERY]


def test_a_query_loses_its_margins():
    """Models send them at times."""
    pages = Pages(documents=[])
    create_page_search_tool(pages).invoke({"query": f" {QUERY}\n"})
    assert pages.queries == [QUERY]


def test_traces_are_nested():
    """The retriever's run is inside the tool's, with the tags of the call, both ways."""
    traces = Traces()
    config = {"callbacks": [traces], "tags": ["a tag"]}
    tool = made([])
    tool.invoke(call(), config)
    asyncio.run(tool.ainvoke(call(), config))
    assert len(traces.tools) == 2
    assert traces.retrievers == traces.tools
    assert list(traces.tools.values()) == [["a tag"], ["a tag"]]


def test_an_error_of_the_retriever_ends_the_call():
    """It is no page that is missing, but the search."""

    class DeadPages(Pages):
        def _get_relevant_documents(self, query, *, run_manager):
            raise EngineDiedError("died.")

    tool = create_page_search_tool(DeadPages(documents=[]))
    with pytest.raises(EngineDiedError):
        tool.invoke(call())
    with pytest.raises(EngineDiedError):
        asyncio.run(tool.ainvoke(call()))


def test_an_asynchronous_call_does_not_block_its_loop(monkeypatch):
    """The retriever runs in the loop, thumbnails are made beside it: here only when the loop goes on."""
    goes_on = threading.Event()
    make = Thumbnails.of

    def wait_and_make(thumbnails, source):
        assert goes_on.wait(30)
        return make(thumbnails, source)

    async def search_and_go_on(tool):
        searching = asyncio.create_task(tool.ainvoke(call()))
        await asyncio.sleep(0.05)
        assert not searching.done()
        goes_on.set()
        return await searching

    monkeypatch.setattr(Thumbnails, "of", wait_and_make)
    pages = Pages(documents=two_pages())
    found = asyncio.run(search_and_go_on(create_page_search_tool(pages)))
    assert len(found.content) == 4
    assert pages.threads == [threading.current_thread()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_mode": "pixels"}, "image_mode must be one of 'blocks', 'url', 'reference', 'none', got 'pixels'"),
        ({"k": 0}, "k must be a whole number from 1, got 0"),
        ({"k": 5, "max_k": 4}, "max_k must be a whole number from 5, got 4"),
        ({"max_characters": -1}, "max_characters must be a whole number from 0, got -1"),
        ({"thumbnail_side": 0}, "thumbnail_side must be a whole number from 1, got 0"),
        ({"thumbnail_bytes": 1000}, "thumbnail_bytes must be a whole number from 1,024, got 1000"),
        ({"image_url": str}, "image_url is for image_mode='url' or 'reference', got 'blocks'. Choose"),
        ({"allowed_image_roots": "scans"}, r"allowed_image_roots must be several, got one, 'scans'. For one write \["),
        ({"image_keys": "image"}, r"image_keys must be several, got one, 'image'. For one write \["),
    ],
)
def test_options_are_checked_when_the_tool_is_made(options, message):
    """Before an agent runs into them."""
    with pytest.raises(OptionError, match=message):
        made([], **options)


def test_a_vector_store_is_no_retriever():
    """Who forgets ``as_retriever`` is told."""
    with FakeEngine() as engine, pytest.raises(OptionError, match=r"got InMemoryVectorStore.*store\.as_retriever\(\)"):
        create_page_search_tool(InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine)))


def test_wrong_arguments_of_a_program_raise():
    """Outside of an agent too."""
    with pytest.raises(ValidationError):
        made([]).invoke({"query": QUERY, "k": 99})
