"""A found page as a picture, in LlamaIndex's terms, and before its query engines' language models."""

from __future__ import annotations

import asyncio
import io

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms.mock import MockLLMWithChatMemoryOfLastCall
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, TextNode
from PIL import Image
from pydantic import ValidationError

from jina_vllm_integrations import ImageLimits
from jina_vllm_integrations.errors import ImageError, ItemTypeError, OptionError
from jina_vllm_integrations.llama_index import (
    PageImagePostprocessor,
    PageImageReader,
    apage_image,
    page_image,
)
from jina_vllm_integrations.llama_index.node_images import as_image_node
from llama_index_tool import RED, Pages, PagesOfAFolder, colour, found, page
from pdf_files import PdfPage, pdf
from pictures import colour_of, data_uri, encoded, noise


class ChatLLM(MockLLMWithChatMemoryOfLastCall):
    """Remembers what it was shown."""

    @property
    def metadata(self):
        """Say that it chats, and reads much at a time."""
        return LLMMetadata(is_chat_model=True, context_window=100_000)

    def shown(self):
        """Return the texts and the pictures of the last call."""
        blocks = [block for message in self.last_chat_messages for block in message.blocks]
        texts = "\n".join(block.text for block in blocks if block.block_type == "text")
        images = [Image.open(block.resolve_image()) for block in blocks if block.block_type == "image"]
        return texts, [colour_of(image) for image in images]


@pytest.fixture(params=["sync", "async"])
def picture(request):
    """Return `page_image`, or its twin in an event loop of its own."""
    if request.param == "sync":
        return page_image
    return lambda node, **options: asyncio.run(apage_image(node, **options))


@pytest.fixture
def pages(scans):
    """Return the pages of a PDF, a red one and a blue one, as stores return them."""
    (scans / "report.pdf").write_bytes(report())
    return [as_image_node(document) for document in PageImageReader().load_data(scans / "report.pdf")]


def report():
    """Return a PDF with a red and a blue page."""
    return pdf(PdfPage(text="red", colour=(1, 0, 0)), PdfPage(text="blue", colour=(0, 0, 1)))


def test_any_node(picture, pages, scans):
    """An image's node or a text's whose metadata names it, with a score or without, and a document."""
    options = {"allowed_image_roots": ["scans"]}
    document = PageImageReader().load_data(scans / "report.pdf")[1]
    as_text = TextNode(text="page", metadata=pages[1].metadata)
    for node in (pages[1], *found(pages[1]), document, as_text):
        assert colour_of(picture(node, **options)) == "blue"
    assert colour_of(picture(ImageNode(image=RED.partition(",")[2]))) == "red"


def test_forms(picture, pages, scans):
    """PIL's image, a JPEG file, and a block that a message takes, none larger than asked for."""
    options = {"allowed_image_roots": [scans], "max_pixels": 20_000}
    assert picture(pages[0], **options).size == (199, 100)
    assert Image.open(io.BytesIO(picture(pages[0], form="bytes", **options))).format == "JPEG"
    assert colour(picture(pages[0], form="block", **options)) == "red"
    with pytest.raises(OptionError, match="form"):
        picture(pages[0], form="png", **options)


def test_a_retriever_says_what_may_be_read(picture, pages, scans):
    """Unless the caller does, who may also allow less."""
    node = TextNode(metadata={"page_png": pages[1].metadata["image_uri"]})
    retriever = PagesOfAFolder([], scans)
    assert colour_of(picture(node, retriever=retriever)) == "blue"
    with pytest.raises(ImageError, match="must be inside allowed_image_roots"):
        picture(node, retriever=retriever, allowed_image_roots=())


def test_a_node_without_an_image(picture):
    """Is refused by an error that says what to pass."""
    with pytest.raises(ItemTypeError, match="image_keys="):
        picture(TextNode(text="a text"))


def answered(engine, asynchronous):
    """Ask a query engine."""
    return asyncio.run(engine.aquery("which page?")) if asynchronous else engine.query("which page?")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_multimodal_query_engine_sees_pages_of_pdfs(pages, scans, asynchronous):
    """Whatever node a store makes of them, beside texts; the sources keep their ids, scores and metadata."""
    nodes = [
        NodeWithScore(node=pages[1], score=0.5),
        NodeWithScore(node=TextNode(text="in words"), score=0.4),
        NodeWithScore(node=TextNode(id_="text", text="page", metadata=pages[0].metadata), score=0.3),
    ]
    before = [each.model_dump() for each in nodes]
    pictures, llm = PageImagePostprocessor(allowed_image_roots=(scans,)), ChatLLM()
    engine = RetrieverQueryEngine.from_args(
        Pages(nodes), llm=llm, node_postprocessors=[pictures], multimodal=True, response_mode="simple_summarize"
    )
    response = answered(engine, asynchronous)
    texts, colours = llm.shown()
    assert colours == ["blue", "red"]
    assert "in words" in texts
    assert "report.pdf" in texts
    assert [(each.node_id, each.score) for each in response.source_nodes] == [
        (each.node_id, each.score) for each in nodes
    ]
    assert response.source_nodes[0].metadata == pages[1].metadata
    assert [each.model_dump() for each in nodes] == before


def test_a_citing_query_engine_sees_pages_of_pdfs(pages, scans):
    """LlamaIndex makes its sources of the nodes' blocks."""
    pictures, llm = PageImagePostprocessor(allowed_image_roots=(scans,)), ChatLLM()
    engine = CitationQueryEngine.from_args(
        VectorStoreIndex([], embed_model=MockEmbedding(4)),
        llm=llm,
        retriever=Pages(found(*pages)),
        node_postprocessors=[pictures],
        multimodal=True,
    )
    engine.query("which page?")
    assert "blue" in llm.shown()[1]


def test_a_page_whose_image_cannot_be_had_is_shown_as_a_text(pages, scans, caplog):
    """The others with their pictures; the log says once which and why."""
    private = ImageNode(id_="private", text="of others", image_path=str(scans.parent / "private" / "blue.png"))
    pictures, llm = PageImagePostprocessor(allowed_image_roots=(scans,)), ChatLLM()
    engine = RetrieverQueryEngine.from_args(
        Pages(found(private, pages[1])),
        llm=llm,
        node_postprocessors=[pictures],
        multimodal=True,
        response_mode="simple_summarize",
    )
    for _ in range(2):
        response = engine.query("which page?")
    texts, colours = llm.shown()
    assert colours == ["blue"]
    assert "of others" in texts
    assert response.source_nodes[0].node.get_content(MetadataMode.NONE) == "of others"
    (record,) = caplog.records
    assert "private, which was found, is shown as a text" in record.getMessage()


def test_settings_of_the_postprocessor():
    """A picture has no more pixels than asked for; what is no setting is refused, and JSON brings the rest back."""
    node = ImageNode(image=data_uri(encoded(noise(400, 200), compress_level=1)).partition(",")[2])
    pictures = PageImagePostprocessor(max_pixels=20_000)
    (shown,) = PageImagePostprocessor.from_dict(pictures.to_dict()).postprocess_nodes(found(node))
    assert Image.open(shown.node.resolve_image()).size == (200, 100)
    small = PageImagePostprocessor(image_limits=ImageLimits(max_pixels=100))
    (shown,) = small.postprocess_nodes(found(node))
    assert not isinstance(shown.node, ImageNode)
    for wrong in ({"max_pixels": 0}, {"roots": ()}):
        with pytest.raises(ValidationError):
            PageImagePostprocessor(**wrong)


def test_a_url_is_fetched_where_that_was_chosen(picture_url):
    """LlamaIndex itself would fetch whatever a node names."""
    mine = ImageLimits(private_hosts=frozenset({"127.0.0.1"}))
    nodes = found(page(picture_url))
    (shown,) = PageImagePostprocessor(allow_image_urls=True, image_limits=mine).postprocess_nodes(nodes)
    assert colour_of(Image.open(shown.node.resolve_image())) == "red"
    (shown,) = PageImagePostprocessor().postprocess_nodes(found(ImageNode(text="named", image_url=picture_url)))
    assert (type(shown.node), shown.node.text) == (TextNode, "named")
