"""LlamaIndex's tool that searches pages: agents, retrievers of many kinds, options."""

from __future__ import annotations

import asyncio
import threading

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, LLMMetadata, MessageRole
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import Document, TextNode
from llama_index.core.tools import FunctionTool, RetrieverTool
from PIL import Image
from pydantic import Field, ValidationError

from jina_vllm_integrations import EngineDiedError, OptionError
from jina_vllm_integrations.adapters.thumbnails import Thumbnails
from jina_vllm_integrations.llama_index import JinaVLLMRerank, PageImageReader, create_page_search_tool
from jina_vllm_integrations.testing import FakeEngine
from llama_index_tool import (
    BLUE,
    QUERY,
    RED,
    AsyncPages,
    CountingPages,
    Pages,
    answer,
    both_ways,
    colour,
    found,
    kinds,
    made,
    page,
    two_pages,
)
from pictures import png

# LlamaIndex's workflows look at every attribute of an agent.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


class Reader(FunctionCallingLLM):
    """Searches once, looks at the answer, and says what it saw."""

    arguments: dict
    tools_seen: list = Field(default_factory=list)

    @property
    def metadata(self):
        """Say that it calls functions."""
        return LLMMetadata(is_function_calling_model=True)

    def _prepare_chat_with_tools(self, tools, user_msg=None, chat_history=None, **_options):
        self.tools_seen.extend(tool.metadata.to_openai_tool()["function"] for tool in tools)
        return {"messages": chat_history}

    async def achat(self, messages, **_options):
        """Answer."""
        last = messages[-1]
        if last.role == MessageRole.TOOL:
            return ChatResponse(message=ChatMessage(role="assistant", content=self._seen(last.blocks)))
        return ChatResponse(message=ChatMessage(role="assistant", content=""))

    def get_tool_calls_from_response(self, response, **_options):
        """Search, unless that was done."""
        if response.message.content:
            return []
        return [ToolSelection(tool_id="1", tool_name="search_pages", tool_kwargs=self.arguments)]

    def _seen(self, blocks):
        return ", ".join(
            colour(block) if isinstance(block, ImageBlock) else block.text.splitlines()[0] for block in blocks
        )

    def _never(self, *_given, **_options):
        raise NotImplementedError

    chat = complete = stream_chat = stream_complete = acomplete = astream_chat = astream_complete = _never


def run(agent):
    """Return what an agent says, and the results of its calls."""

    async def running():
        handler = agent.run(QUERY)
        results = [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
        return str(await handler), results

    return asyncio.run(running())


def test_an_agent_sees_the_pages():
    """In the agent's loop text and image blocks arrive whole, and the nodes beside them."""
    nodes = two_pages()
    tool = made(nodes)
    assert isinstance(tool, FunctionTool)
    llm = Reader(arguments={"query": QUERY})
    said, (result,) = run(FunctionAgent(tools=[tool], llm=llm, streaming=False))
    assert said == "[1] a.pdf, page iv, score 0.712, red, [2] b.pdf, page 12, blue"
    assert kinds(result.tool_output.blocks) == ["text", "image", "text", "image"]
    assert not result.tool_output.is_error
    assert all(one is other for one, other in zip(result.tool_output.raw_output, nodes, strict=True))
    assert llm.tools_seen[0]["name"] == "search_pages"


def test_llama_indexs_own_tool_would_not_do():
    """It sends no image, and not the query: why there is another one. Once this fails, it may do."""
    pages = Pages(two_pages())
    answered = RetrieverTool.from_defaults(pages).call(query=QUERY)
    assert kinds(answered.blocks) == ["text"]
    assert pages.queries == [f"\nquery is {QUERY}\n"]
    pages = Pages(two_pages())
    answered = create_page_search_tool(pages).call(query=QUERY)
    assert kinds(answered.blocks) == ["text", "image", "text", "image"]
    assert pages.queries == [QUERY]
    assert answered.raw_input == {"args": (), "kwargs": {"query": QUERY, "k": 4}}


@pytest.mark.parametrize(
    "arguments", [{}, {"query": " \n"}, {"query": QUERY, "k": 11}, {"query": QUERY, "k": 0}, {"question": QUERY}]
)
def test_an_agent_is_told_of_wrong_arguments(arguments):
    """Before anything is searched, and so that it can try again."""
    pages = Pages(two_pages())
    llm = Reader(arguments=arguments)
    _, (result,) = run(FunctionAgent(tools=[create_page_search_tool(pages)], llm=llm, streaming=False))
    assert result.tool_output.is_error
    assert any(name in result.tool_output.content for name in ("query", "k", "question"))
    assert pages.queries == []


def test_what_a_model_is_told():
    """The arguments with their bounds, and what comes back, within the length that OpenAI allows."""
    function = made([], k=2, max_k=5).metadata.to_openai_tool()["function"]
    properties = function["parameters"]["properties"]
    assert (function["name"], function["parameters"]["required"]) == ("search_pages", ["query"])
    assert {name: properties["k"][name] for name in ("default", "minimum", "maximum")} == {
        "default": 2,
        "minimum": 1,
        "maximum": 5,
    }
    assert all(each["description"] for each in properties.values())
    assert "followed by an image of the page" in function["description"]
    assert "the path or URL of its image" in made([], image_mode="reference").metadata.description
    assert "image" not in made([], image_mode="none").metadata.description
    custom = made([], name="search_invoices", description="Invoices since 2019.")
    assert (custom.metadata.name, custom.metadata.description) == ("search_invoices", "Invoices since 2019.")
    assert custom.call(query=QUERY).tool_name == "search_invoices"


def test_nothing_found():
    """Is said, with what to do about it."""
    for answered in both_ways(made([])):
        assert "Search again in other words" in answered.content
        assert answered.raw_output == []


def test_the_number_of_pages():
    """Is the tool's unless the model asks for another, and cut off where the retriever finds more."""
    nodes = found(*(TextNode(text=str(index)) for index in range(20)))
    tool = made(nodes, k=2)
    for arguments, n_pages in (({}, 2), ({"k": None}, 2), ({"k": 1}, 1), ({"k": 10}, 10)):
        for answered in both_ways(tool, **arguments):
            assert len(answered.blocks) == n_pages
            assert answered.raw_output == nodes[:n_pages]
    assert tool.call(query=QUERY, k=4).blocks[-1].text == "[4]\n3"


def test_a_retriever_finds_as_many_as_are_asked_for():
    """LlamaIndex's default is two. It is a copy that finds more: others may be using the retriever."""
    pages = CountingPages(found(*(TextNode(text=str(index)) for index in range(20))))
    tool = create_page_search_tool(pages)
    assert [len(answer(tool, **arguments)) for arguments in ({}, {"k": 7}, {"k": 1})] == [4, 7, 1]
    assert pages.similarity_top_k == 2
    index = VectorStoreIndex.from_documents(
        [Document(text=str(index)) for index in range(9)], embed_model=MockEmbedding(embed_dim=2)
    )
    retriever = index.as_retriever()
    assert len(answer(create_page_search_tool(retriever), k=6)) == 6
    assert retriever.similarity_top_k == 2


def test_nodes_go_through_postprocessors():
    """All that the retriever found: the reranker chooses, and its scores are shown."""
    pages = CountingPages(found(*(page(image, id_=name) for name, image in (("b", BLUE), ("b", BLUE), ("r", RED)))))
    pages.similarity_top_k = 3
    with FakeEngine() as engine:
        reranker = JinaVLLMRerank(engine=engine)
        tool = create_page_search_tool(pages, node_postprocessors=[reranker], k=1)
        expected = reranker.postprocess_nodes(pages.nodes, query_str=QUERY)[0]
        for answered in both_ways(tool):
            assert [each.score for each in answered.raw_output] == [expected.score]
            assert answered.blocks[0].text == f"[1] score {expected.score:.3f}"


def test_pages_of_the_reader_are_shown(tmp_path):
    """From file to index to answer: what it reads, the tool shows."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "scan.png")
    reader = PageImageReader(image_folder=tmp_path / "images")
    index = VectorStoreIndex.from_documents(reader.load_data(tmp_path), embed_model=MockEmbedding(embed_dim=2))
    text, image = answer(create_page_search_tool(index.as_retriever(), allowed_image_roots=[tmp_path]))
    assert text.text == f"[1] {tmp_path / 'scan.png'}, page 1, score 1.000\n[page 1 of {tmp_path.name}/scan.png]"
    assert colour(image) == "red"


def test_the_query_as_a_position():
    """As LlamaIndex's tools may be called; it loses the margins that models send at times."""
    pages = Pages(two_pages())
    tool = create_page_search_tool(pages, k=1)
    assert len(tool(f" {QUERY}\n").raw_output) == len(asyncio.run(tool.acall(QUERY)).raw_output) == 1
    assert pages.queries == [QUERY, QUERY]


@pytest.mark.parametrize(("kind", "in_thread"), [(Pages, True), (AsyncPages, False)])
def test_the_event_loop_is_not_blocked(monkeypatch, kind, in_thread):
    """Thumbnails are made in a thread; so is a search whose retriever would block the loop, and no other."""
    threads = []

    def of(self, source):
        threads.append(threading.current_thread())
        return png("red")

    monkeypatch.setattr(Thumbnails, "of", of)
    pages = kind(two_pages())
    asyncio.run(create_page_search_tool(pages).acall(query=QUERY))
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    assert (pages.threads[0] is not threading.main_thread()) == in_thread


def test_an_error_of_the_retriever_ends_the_call():
    """It is no page that is missing, but the search."""

    class DeadPages(Pages):
        def _retrieve(self, query_bundle):
            raise EngineDiedError("died.")

    tool = create_page_search_tool(DeadPages([]))
    with pytest.raises(EngineDiedError):
        tool.call(query=QUERY)
    with pytest.raises(EngineDiedError):
        asyncio.run(tool.acall(query=QUERY))


def test_wrong_arguments_raise_in_a_program():
    """Both ways."""
    tool = made([])
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        tool.call(query=QUERY, k=11)
    with pytest.raises(ValidationError, match="at least 1 character"):
        asyncio.run(tool.acall())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_mode": "both"}, "image_mode must be one of 'blocks', 'url', 'reference', 'none'"),
        ({"k": 0}, "k must be a whole number from 1"),
        ({"k": 5, "max_k": 4}, "max_k must be a whole number from 5"),
        ({"max_characters": -1}, "max_characters must be a whole number from 0"),
        ({"thumbnail_side": 0}, "thumbnail_side must be a whole number from 1"),
        ({"thumbnail_bytes": 100}, "thumbnail_bytes must be a whole number from 1,024"),
        ({"image_url": str}, "image_url is for image_mode='url' or 'reference', got 'blocks'"),
        ({"allowed_image_roots": "scans"}, r"allowed_image_roots must be several, got one, 'scans'"),
        ({"image_keys": "image"}, r"image_keys must be several, got one, 'image'"),
    ],
)
def test_wrong_options(options, message):
    """They are told when the tool is made."""
    with pytest.raises(OptionError, match=message):
        made([], **options)


def test_what_is_no_retriever():
    """The error says how to get one."""
    with pytest.raises(OptionError, match=r"got list\. Of an index, pass index\.as_retriever\(\)"):
        create_page_search_tool([])


class OnlyRetrieves:
    """Finds as LlamaIndex's retrievers do, and is none."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.threads = []

    def retrieve(self, bundle):
        """Return all, whatever is asked."""
        self.threads.append(threading.current_thread())
        return self.nodes


class Retrieves(OnlyRetrieves):
    """Has a way of its own for event loops, too."""

    async def aretrieve(self, bundle):
        """Do as `retrieve`."""
        return self.retrieve(bundle)


@pytest.mark.parametrize("kind", [OnlyRetrieves, Retrieves])
def test_whatever_retrieves(kind):
    """It need not be of a class of LlamaIndex's; without an asynchronous way, it runs in a thread."""
    pages = kind(two_pages())
    assert len(answer(create_page_search_tool(pages, k=2))) == 4
    assert [thread is threading.main_thread() for thread in pages.threads] == [True, kind is Retrieves]


def test_a_query_engine_retrieves():
    """With its postprocessors."""
    engine = RetrieverQueryEngine.from_args(Pages(two_pages()), llm=MockLLM())
    assert len(answer(create_page_search_tool(engine, k=2))) == 4
