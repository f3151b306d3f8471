"""The page-search tool: what a model sees of the pages, inside an agent, and what it must not see."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import threading
from pathlib import Path  # noqa: TC003 - pydantic reads it

import pytest
from langchain.agents import create_agent
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from PIL import ExifTags, Image
from pydantic import Field, ValidationError

from jina_vllm_integrations import EngineDiedError, ImageLimits, OptionError
from jina_vllm_integrations.adapters.thumbnails import Thumbnails
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, create_page_search_tool
from jina_vllm_integrations.testing import FakeEngine
from pictures import data_uri, encoded, noise, png

QUERY = "where is the red circle"

# The suites have coroutines beside functions, and pytest-asyncio warns of a mark on the latter.
runs_coroutines = pytest.mark.asyncio
no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)


RED, BLUE = data_uri(png("red")), data_uri(png("blue"))


class Pages(BaseRetriever):
    """Returns all its documents, whatever is asked."""

    documents: list[Document]
    queries: list[str] = Field(default_factory=list)
    threads: list[threading.Thread] = Field(default_factory=list)

    def _get_relevant_documents(self, query, *, run_manager):
        self.queries.append(query)
        return self.documents

    async def _aget_relevant_documents(self, query, *, run_manager):
        self.threads.append(threading.current_thread())
        return self._get_relevant_documents(query, run_manager=run_manager)


class CountingPages(Pages):
    """Takes a number as LangChain's own example does: any keyword, beside a number of its own."""

    k: int = 3
    numbers: list[int] = Field(default_factory=list)

    def _get_relevant_documents(self, query, *, run_manager, **kwargs):
        self.numbers.append(kwargs.get("k", self.k))
        return self.documents[: self.numbers[-1]]

    async def _aget_relevant_documents(self, query, *, run_manager, **kwargs):
        return self._get_relevant_documents(query, run_manager=run_manager, **kwargs)


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


class PagesOfAFolder(Pages):
    """Says of itself what may be read, as `JinaVLLMRetriever` does."""

    allowed_image_roots: tuple[Path, ...]
    image_keys: tuple[str, ...] = ("page_png",)
    image_limits: ImageLimits = ImageLimits()


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


def page(image, text="", **metadata):
    """Return a page's document."""
    return Document(text, metadata={"image": image, **metadata})


def two_pages():
    """Return a red and a blue page with all that a page may have."""
    return [
        page(RED, "the red circle", source="a.pdf", page=0, relevance_score=0.71234),
        page(BLUE, "the blue square", source="b.pdf", page=11.0),
    ]


def made(documents, **options):
    """Return a tool over a retriever of documents."""
    return create_page_search_tool(Pages(documents=documents), **options)


def call(**arguments):
    """Return a model's call of the tool."""
    return {"name": "search_pages", "args": {"query": QUERY, **arguments}, "id": "call 1", "type": "tool_call"}


def both_ways(tool, given):
    """Return the answers to a synchronous and to an asynchronous call."""
    return [tool.invoke(given), asyncio.run(tool.ainvoke(given))]


def answer(tool, **arguments):
    """Return the content of an answer, which is the same both ways."""
    first, second = both_ways(tool, call(**arguments))
    assert first.content == second.content
    return first.content


def shown(document, **options):
    """Return the lines of the text about one page, and the blocks after it."""
    text, *images = answer(made([document], **options))
    assert set(text) == {"type", "text"}
    return text["text"].splitlines(), images


def picture(block):
    """Return the picture in a block."""
    assert {**block, "base64": ""} == {"type": "image", "mime_type": "image/jpeg", "base64": ""}
    image = Image.open(io.BytesIO(base64.b64decode(block["base64"], validate=True)))
    assert image.format == "JPEG"
    return image


def colour(block):
    """Return what a plain picture shows."""
    red, green, blue = picture(block).getpixel((1, 1))
    return "red" if red > 200 > green + blue else "blue" if blue > 200 > red + green else "another"


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


def test_what_a_text_says_of_a_page():
    """Rank, source, the page as people count, score and text; what metadata lacks is left out."""
    assert shown(two_pages()[0], image_mode="none") == (["[1] a.pdf, page 1, score 0.712", "the red circle"], [])
    assert shown(Document("a text")) == (["[1]", "a text"], [])
    assert shown(Document(" \n", metadata={"page": float("nan"), "source": 7, "relevance_score": "high"})) == (
        ["[1]"],
        [],
    )
    ((heading,), _) = shown(Document("", metadata={"source": "x" * 1000 + "/end.pdf"}))
    assert heading.endswith("/end.pdf")
    assert len(heading) < 250


def test_a_page_s_text_is_bounded():
    """It is cut where it is too long, and left out where none was asked for."""
    text = "word " * 100
    assert shown(Document(text), max_characters=8) == (["[1]", "word wor …"], [])
    assert shown(Document(text), max_characters=499) == (["[1]", text.strip()], [])
    assert shown(Document(text), max_characters=0) == (["[1]"], [])
    assert len("\n".join(shown(Document("word " * 10_000))[0])) < 2010


@pytest.mark.parametrize("mode", ["blocks", "url", "reference", "none"])
def test_no_encoded_image_becomes_text(mode):
    """Neither from the metadata, wherever it is, nor from where some stores keep it instead of a text."""
    content = data_uri(encoded(noise(60, 60), compress_level=1))
    bare = content.partition(",")[2]
    for document in (
        page(content, source=content, page=content),
        page(content.replace("data:", "DATA:"), content),
        page(content, bare),
        page(content, bare.rstrip("=")),
    ):
        text = "\n".join(shown(document, image_mode=mode)[0])
        assert not any(piece in text for piece in (bare[:50], bare[-50:]))


def test_blocks(scans):
    """A thumbnail follows the text of each page that has an image, from files and data URIs, under either key."""
    documents = [
        page("scans/red.png"),
        Document("no image"),
        Document("", metadata={"image_uri": (scans / "red.png").as_uri(), "image": BLUE}),
        page(BLUE),
    ]
    content = answer(made(documents, allowed_image_roots=["scans"]))
    assert [block["type"] for block in content] == ["text", "image", "text", "text", "image", "text", "image"]
    assert [colour(block) for block in content if block["type"] == "image"] == ["red", "red", "blue"]


def test_a_thumbnail_is_no_larger_than_asked_for():
    """In pixels and in bytes, whatever the page; its proportions stay, and a small image is not enlarged."""
    document = page(data_uri(encoded(noise(1600, 800), compress_level=1)))
    _, (block,) = shown(document)
    assert picture(block).size == (1024, 512)
    _, (block,) = shown(document, thumbnail_side=100)
    assert picture(block).size == (100, 50)
    _, (block,) = shown(page(RED))
    assert picture(block).size == (90, 60)
    for most in (20_000, 1024):
        _, (block,) = shown(document, thumbnail_bytes=most)
        assert len(base64.b64decode(block["base64"])) <= most
        width, height = picture(block).size
        assert 1 <= height <= width < 1024
    _, (block,) = shown(page(data_uri(encoded(noise(1100, 1100), compress_level=1))))
    assert len(base64.b64decode(block["base64"])) <= 512 * 1024


def test_a_huge_page_becomes_a_thumbnail():
    """A sheet of 48 million pixels, and one of a single row, are as small as any."""
    for size, expected in (((6000, 8000), (768, 1024)), ((60_000, 1), (1024, 1))):
        _, (block,) = shown(page(data_uri(png(255, size, mode="1"))))
        assert picture(block).size == expected
        assert len(block["base64"]) < 50_000


def test_a_thumbnail_is_upright_and_on_white():
    """As a viewer shows the image, and without its metadata, which would turn it again."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(file, "JPEG", exif=exif)
    _, (block,) = shown(page(data_uri(file.getvalue())))
    assert picture(block).size == (60, 90)
    assert not picture(block).getexif()
    _, (block,) = shown(page(data_uri(png((0, 0, 0, 0), mode="RGBA"))))
    assert picture(block).getpixel((5, 5)) == (255, 255, 255)


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
    documents = [page(image, "a text"), page("scans/red.png")]
    tool = made(documents, allowed_image_roots=(scans,), image_limits=ImageLimits(max_pixels=10_000))
    with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
        first, second, red = tool.invoke(call()).content
    assert first["text"] == f"[1]\na text\nImage: not available, {reason}."
    assert (second["text"], colour(red)) == ("[2]", "red")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "is not shown: " in record.getMessage()
    assert len(record.getMessage()) < 600


def test_no_file_is_read_by_default(scans):
    """The working folder is no root."""
    lines, images = shown(page("scans/red.png"))
    assert (lines[-1], images) == ("Image: not available, it may not be read.", [])


def test_roots_stay_when_the_working_folder_changes(scans, monkeypatch):
    """A relative root is one of where the tool was made."""
    tool = made([page(str(scans / "red.png")), page("blue.png")], allowed_image_roots=["scans"])
    monkeypatch.chdir(scans.parent / "private")
    assert [block["type"] for block in answer(tool)] == ["text", "image", "text"]


def test_a_retriever_says_what_may_be_read(scans):
    """Unless the caller does, who may also allow less."""
    document = Document("", metadata={"page_png": "scans/red.png", "image": BLUE})
    pages = PagesOfAFolder(documents=[document], allowed_image_roots=(scans,))
    _, red = answer(create_page_search_tool(pages))
    assert colour(red) == "red"
    (text,) = answer(create_page_search_tool(pages, allowed_image_roots=()))
    assert "may not be read" in text["text"]
    (text,) = answer(create_page_search_tool(pages, image_limits=ImageLimits(max_pixels=1)))
    assert "too large" in text["text"]
    _, blue = answer(create_page_search_tool(pages, image_keys=["image"]))
    assert colour(blue) == "blue"


def test_urls_are_fetched_where_that_was_chosen(picture_url):
    """And then from public addresses only, unless the caller vouches for another."""
    lines, _ = shown(page(picture_url), allow_image_urls=True)
    assert lines[-1] == "Image: not available, it has no address that may be used."
    mine = ImageLimits(private_hosts=frozenset({"127.0.0.1"}))
    _, (block,) = shown(page(picture_url), allow_image_urls=True, image_limits=mine)
    assert colour(block) == "red"
    lines, _ = shown(page("http://127.0.0.1:9/"), allow_image_urls=True, image_limits=mine)
    assert lines[-1] == "Image: not available, it could not be fetched."


def test_url(scans):
    """The metadata's, which is not fetched here, or what the caller says; a page without one is text that says so."""
    url = "https://example.com/red.png?signature=1"
    assert shown(page(url), image_mode="url") == (["[1]"], [{"type": "image", "url": url}])
    both = Document("", metadata={"image_uri": "scans/red.png", "image": url})
    assert shown(both, image_mode="url")[1] == [{"type": "image", "url": url}]
    for image in ("scans/red.png", RED, None, 7):
        assert shown(page(image), image_mode="url") == (["[1]", "Image: not available, it has no URL."], [])
    named = {"image_mode": "url", "image_url": lambda document: document.metadata.get("address")}
    assert shown(page(RED, address=url), **named)[1] == [{"type": "image", "url": url}]
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
    assert shown(page("scans/text.png"), **options) == (["[1]", f"Image: {scans / 'text.png'}"], [])
    assert shown(Document("a text"), **options) == (["[1]", "a text"], [])
    inside = "Image: not available, it is inside the document and has no address."
    assert shown(page(RED), **options) == (["[1]", inside], [])
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
    named = {"image_mode": "reference", "image_url": lambda document: document.metadata["reference"]}
    assert shown(page(RED, reference="/pages/1.png"), **named)[0][-1] == "Image: /pages/1.png"
    assert shown(page(RED, reference=None), **named) == (["[1]"], [])
    assert "inside the document" in shown(page(None, reference=RED), **named)[0][-1]


def test_none():
    """Text alone, and nothing is opened."""
    assert shown(page("/etc/passwd", "a text"), image_mode="none") == (["[1]", "a text"], [])


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
