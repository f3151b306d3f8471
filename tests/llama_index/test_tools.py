"""The page-search tool: what a model sees of the pages, inside an agent, and what it must not see."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ImageBlock,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource, Node, NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool, RetrieverTool
from PIL import Image
from pydantic import Field, ValidationError

from jina_vllm_integrations import EngineDiedError, ImageLimits, OptionError
from jina_vllm_integrations.adapters.thumbnails import Thumbnails
from jina_vllm_integrations.llama_index import JinaVLLMRerank, PageImageReader, create_page_search_tool
from jina_vllm_integrations.testing import FakeEngine
from pictures import data_uri, encoded, noise, png

pytestmark = [
    # LlamaIndex imports it, where it is installed, to resolve an embedding model.
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning"),
    # LlamaIndex's workflows look at every attribute of an agent.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

QUERY = "where is the red circle"


RED, BLUE = data_uri(png("red")), data_uri(png("blue"))


class Pages(BaseRetriever):
    """Returns all its nodes, whatever is asked, and blocks while it does."""

    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes
        self.queries = []
        self.threads = []

    def _retrieve(self, query_bundle):
        self.queries.append(query_bundle.query_str)
        self.threads.append(threading.current_thread())
        return self.nodes


class AsyncPages(Pages):
    """Has a way of its own for event loops."""

    async def _aretrieve(self, query_bundle):
        return self._retrieve(query_bundle)


class CountingPages(Pages):
    """Returns as many as it is set to."""

    similarity_top_k = 2

    def _retrieve(self, query_bundle):
        return super()._retrieve(query_bundle)[: self.similarity_top_k]


class PagesOfAFolder(Pages):
    """Says of itself what may be read, as `JinaVLLMRetriever` does."""

    image_keys = ("page_png",)
    image_limits = ImageLimits()

    def __init__(self, nodes, root):
        super().__init__(nodes)
        self.allowed_image_roots = (root,)


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


def page(image, text="", **metadata):
    """Return a page's node as a store that knows only texts does."""
    return TextNode(text=text, metadata={"image": image, **metadata})


def found(*nodes):
    """Return nodes without a score."""
    return [NodeWithScore(node=node) for node in nodes]


def two_pages():
    """Return a red and a blue page with all that a page may have."""
    return [
        NodeWithScore(node=page(RED, "the red circle", file_path="a.pdf", page_label="iv"), score=np.float32(0.71234)),
        NodeWithScore(node=page(BLUE, "the blue square", file_name="b.pdf", page_label=12)),
    ]


def made(nodes, **options):
    """Return a tool over a retriever of nodes."""
    return create_page_search_tool(Pages(nodes), **options)


def both_ways(tool, **arguments):
    """Return the answers to a synchronous and to an asynchronous call."""
    given = {"query": QUERY, **arguments}
    return [tool.call(**given), asyncio.run(tool.acall(**given))]


def answer(tool, **arguments):
    """Return the blocks of an answer, which are the same both ways."""
    first, second = both_ways(tool, **arguments)
    assert first.blocks == second.blocks
    return first.blocks


def shown(node, **options):
    """Return the lines of the text about one page, and the blocks after it."""
    text, *images = answer(made(found(node), **options))
    return text.text.splitlines(), images


def kinds(blocks):
    """Return what blocks are."""
    return [block.block_type for block in blocks]


def picture(block):
    """Return the picture in a block."""
    assert (block.path, block.url, block.image_mimetype) == (None, None, "image/jpeg")
    image = Image.open(block.resolve_image())
    assert image.format == "JPEG"
    return image


def colour(block):
    """Return what a plain picture shows."""
    red, green, blue = picture(block).getpixel((1, 1))
    return "red" if red > 200 > green + blue else "blue" if blue > 200 > red + green else "another"


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


def test_what_a_text_says_of_a_page():
    """Rank, source, the page as people count, score and text; what metadata lacks is left out."""
    options = {"image_mode": "none"}
    assert answer(made(two_pages()[:1], **options))[0].text == "[1] a.pdf, page iv, score 0.712\nthe red circle"
    assert shown(TextNode(text="a text")) == (["[1]", "a text"], [])
    assert shown(TextNode(text=" \n", metadata={"page_label": 1.5, "file_path": ["x"]})) == (["[1]"], [])
    assert shown(TextNode(text="", metadata={"file_path": "", "file_name": "b.pdf"}))[0] == ["[1] b.pdf"]
    assert shown(TextNode(text="", metadata={"page_label": "x" * 100}))[0] == ["[1]"]
    ((heading,), _) = shown(TextNode(text="", metadata={"file_path": "x" * 1000 + "/end.pdf"}))
    assert heading.endswith("/end.pdf")
    assert len(heading) < 250


def test_a_page_s_text_is_bounded():
    """It is cut where it is too long, and left out where none was asked for."""
    text = "word " * 100
    assert shown(TextNode(text=text), max_characters=8) == (["[1]", "word wor …"], [])
    assert shown(TextNode(text=text), max_characters=499) == (["[1]", text.strip()], [])
    assert shown(TextNode(text=text), max_characters=0) == (["[1]"], [])
    assert len("\n".join(shown(TextNode(text="word " * 10_000))[0])) < 2010


@pytest.mark.parametrize("mode", ["blocks", "url", "reference", "none"])
def test_no_encoded_image_becomes_text(mode):
    """Neither from the node, nor from where some stores keep it instead of a text."""
    content = data_uri(encoded(noise(60, 60), compress_level=1))
    bare = content.partition(",")[2]
    for node in (
        page(content, file_path=content, page_label=content),
        page(content.replace("data:", "DATA:"), content),
        page(content, bare),
        ImageNode(image=bare),
        Document(image_resource=MediaResource(data=base64.b64decode(bare))),
    ):
        text = "\n".join(shown(node, image_mode=mode)[0])
        assert not any(piece in text for piece in (bare[:50], bare[-50:]))


def test_blocks(scans):
    """A thumbnail follows the text of each page that has an image, in whichever shape."""
    path = str(scans / "red.png")
    nodes = [
        ImageNode(image=RED.partition(",")[2], metadata={"image": BLUE}),
        ImageNode(image_path="scans/red.png"),
        Node(image_resource=MediaResource(data=png("red"))),
        Document(image_resource=MediaResource(path=path)),
        ImageDocument(image_path=path, text="a text"),
        TextNode(metadata={"image_uri": (scans / "red.png").as_uri(), "image": BLUE}),
        TextNode(text="no image"),
        page(BLUE),
    ]
    blocks = answer(made(found(*nodes), allowed_image_roots=["scans"], k=8))
    assert kinds(blocks) == [*["text", "image"] * 6, "text", "text", "image"]
    assert [colour(block) for block in blocks if isinstance(block, ImageBlock)] == [*["red"] * 6, "blue"]


def test_a_thumbnail_is_no_larger_than_asked_for():
    """In pixels and in bytes, whatever the page; a small image is not enlarged."""
    node = page(data_uri(encoded(noise(1600, 800), compress_level=1)))
    for options, size in (({}, (1024, 512)), ({"thumbnail_side": 100}, (100, 50))):
        _, (block,) = shown(node, **options)
        assert picture(block).size == size
    _, (block,) = shown(page(RED))
    assert picture(block).size == (90, 60)
    _, (block,) = shown(node, thumbnail_bytes=1024)
    assert len(block.resolve_image().read()) <= 1024


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("scans/missing.png", "its file is missing"),
        ("private/blue.png", "it may not be read"),
        ("scans/../private/blue.png", "it may not be read"),
        ("/etc/passwd", "it may not be read"),
        ("scans/text.png", "its file is damaged or of another kind"),
        ("data:image/png;base64,????", "its file is damaged or of another kind"),
        (data_uri(png("red", (400, 400))), "it is too large"),
        ("https://example.com/red.png", "it has no address that may be used"),
        ("s3://bucket/red.png", "it has no address that may be used"),
        (7, "the document does not say where it is"),
    ],
)
def test_a_page_whose_image_cannot_be_had_is_still_found(scans, caplog, image, reason):
    """The model is told why, without paths that are none of its business; the log has the whole error."""
    (scans / "text.png").write_text("no picture")
    nodes = found(page(image, "a text"), page("scans/red.png"))
    tool = made(nodes, allowed_image_roots=(scans,), image_limits=ImageLimits(max_pixels=10_000))
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        first, second, red = tool.call(query=QUERY).blocks
    assert first.text == f"[1]\na text\nImage: not available, {reason}."
    assert (second.text, colour(red)) == ("[2]", "red")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "is not shown: " in record.getMessage()
    assert len(record.getMessage()) < 600


def test_no_file_is_read_by_default(scans):
    """The working folder is no root, whoever names the file."""
    for node in (page("scans/red.png"), ImageNode(image_path=str(scans / "red.png"))):
        lines, images = shown(node)
        assert (lines[-1], images) == ("Image: not available, it may not be read.", [])


def test_roots_stay_when_the_working_folder_changes(scans, monkeypatch):
    """A relative root is one of where the tool was made."""
    tool = made(found(page(str(scans / "red.png")), page("blue.png")), allowed_image_roots=["scans"])
    monkeypatch.chdir(scans.parent / "private")
    assert kinds(answer(tool)) == ["text", "image", "text"]


def test_a_retriever_says_what_may_be_read(scans):
    """Unless the caller does, who may also allow less."""
    node = TextNode(metadata={"page_png": "scans/red.png", "image": BLUE})
    pages = PagesOfAFolder(found(node), scans)
    _, red = answer(create_page_search_tool(pages))
    assert colour(red) == "red"
    (text,) = answer(create_page_search_tool(pages, allowed_image_roots=()))
    assert "may not be read" in text.text
    (text,) = answer(create_page_search_tool(pages, image_limits=ImageLimits(max_pixels=1)))
    assert "too large" in text.text
    _, blue = answer(create_page_search_tool(pages, image_keys=["image"]))
    assert colour(blue) == "blue"


def test_urls_are_fetched_where_that_was_chosen(picture_url):
    """And then from public addresses only, unless the caller vouches for another."""
    node = ImageNode(image_url=picture_url)
    lines, _ = shown(node, allow_image_urls=True)
    assert lines[-1] == "Image: not available, it has no address that may be used."
    mine = ImageLimits(private_hosts=frozenset({"127.0.0.1"}))
    _, (block,) = shown(node, allow_image_urls=True, image_limits=mine)
    assert colour(block) == "red"
    lines, _ = shown(page("http://127.0.0.1:9/"), allow_image_urls=True, image_limits=mine)
    assert lines[-1] == "Image: not available, it could not be fetched."


def test_url(scans):
    """The node's, which is not fetched here, or what the caller says; a page without one is text that says so."""
    url = "https://example.com/red.png?signature=1"
    for node in (
        page(url),
        ImageNode(image_url=url),
        ImageNode(image_path="scans/red.png", metadata={"image": url}),
        TextNode(metadata={"image_uri": "scans/red.png", "image": url}),
    ):
        lines, (block,) = shown(node, image_mode="url")
        assert (lines, block.block_type, str(block.url), block.image) == (["[1]"], "image", url, None)
    for image in ("scans/red.png", RED, None, 7):
        assert shown(page(image), image_mode="url") == (["[1]", "Image: not available, it has no URL."], [])
    named = {"image_mode": "url", "image_url": lambda each: each.metadata.get("address")}
    assert str(shown(page(RED, address=url), **named)[1][0].url) == url
    assert shown(page(url), **named) == (["[1]", "Image: not available, it has no URL."], [])


@pytest.mark.parametrize(
    "url", ["https://user:secret@example.com/", "https://", "https://example.com/" + "x" * 5000, RED, "file:///red.png"]
)
def test_addresses_that_are_no_public_url(url, caplog):
    """Are not handed on: passwords, other schemes, and what is too long to be one."""
    lines, images = shown(page(RED), image_mode="url", image_url=lambda _: url)
    assert (lines[-1], images) == ("Image: not available, it has no address that may be used.", [])
    assert "secret" not in caplog.text


def test_reference(scans, caplog):
    """A line with what may be read, as an absolute path or a URL; the file is not opened."""
    options = {"image_mode": "reference", "allowed_image_roots": [scans]}
    (scans / "text.png").write_text("no picture")
    assert shown(page("scans/red.png"), **options) == (["[1]", f"Image: {scans / 'red.png'}"], [])
    assert shown(ImageNode(image_path="scans/text.png"), **options)[0][-1] == f"Image: {scans / 'text.png'}"
    assert shown(TextNode(text="a text"), **options) == (["[1]", "a text"], [])
    inside = "Image: not available, it is inside the document and has no address."
    assert shown(page(RED), **options) == (["[1]", inside], [])
    assert shown(ImageNode(image=RED.partition(",")[2]), **options) == (["[1]", inside], [])
    assert caplog.records == []
    forbidden = "Image: not available, it may not be read."
    assert shown(page("private/blue.png"), **options) == (["[1]", forbidden], [])
    url = "https://example.com/red.png"
    assert shown(page(url), **options, allow_image_urls=True) == (["[1]", f"Image: {url}"], [])
    for image in (url, "https://example.com/" + "x" * 5000):
        lines, _ = shown(page(image), **options, allow_image_urls=len(image) > 100)
        assert lines[-1] == "Image: not available, it has no address that may be used."


def test_a_reference_may_be_the_caller_s():
    """Such as a path in the file system that the agent's own tool has; a data URI is none either way."""
    named = {"image_mode": "reference", "image_url": lambda each: each.metadata["reference"]}
    assert shown(page(RED, reference="/pages/1.png"), **named)[0][-1] == "Image: /pages/1.png"
    assert shown(page(RED, reference=None), **named) == (["[1]"], [])
    assert "inside the document" in shown(page(None, reference=RED), **named)[0][-1]


def test_none():
    """Text alone, and nothing is opened."""
    assert shown(page("/etc/passwd", "a text"), image_mode="none") == (["[1]", "a text"], [])


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
    assert text.text == f"[1] {tmp_path / 'scan.png'}, page 1, score 1.000\n[scan.png]"
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
