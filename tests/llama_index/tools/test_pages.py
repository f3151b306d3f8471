"""What a model is shown of a page by LlamaIndex's tool, and what it never is."""

from __future__ import annotations

import base64
import logging

import pytest
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource, Node, TextNode

from jina_vllm_integrations import ImageLimits
from jina_vllm_integrations.llama_index import PageImageReader, create_page_search_tool
from jina_vllm_integrations.llama_index.node_images import as_image_node
from llama_index_tool import (
    BLUE,
    QUERY,
    RED,
    PagesOfAFolder,
    answer,
    colour,
    found,
    kinds,
    made,
    page,
    picture,
    shown,
    two_pages,
)
from pdf_files import PdfPage, pdf
from pictures import data_uri, encoded, noise, png

# LlamaIndex's workflows look at every attribute of an agent.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


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
        lines, (block,) = shown(node, image_mode="url", image_keys=["image_uri", "image"])
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


@pytest.fixture
def pdf_page(scans):
    """Return the second page of a PDF, a red one, as stores return it."""
    (scans / "report.pdf").write_bytes(pdf(PdfPage(), PdfPage(text="a red page", colour=(1, 0, 0))))
    return as_image_node(PageImageReader().load_data(scans / "report.pdf")[1])


def test_a_page_of_a_pdf(pdf_page, scans):
    """Is drawn for its thumbnail, and else called by its URI; a URL for others it has none."""
    lines = [f"[1] {scans / 'report.pdf'}, page 2", "a red page"]
    options = {"allowed_image_roots": [scans]}
    text, (block,) = shown(pdf_page, **options, thumbnail_side=100)
    assert (text, colour(block), picture(block).size) == (lines, "red", (100, 50))
    uri = f"{(scans / 'report.pdf').as_uri()}#page=2"
    assert shown(pdf_page, **options, image_mode="reference") == ([*lines, f"Image: {uri}"], [])
    no_url = "Image: not available, it has no URL."
    assert shown(pdf_page, **options, image_mode="url") == ([*lines, no_url], [])
    assert shown(pdf_page, image_mode="none") == (lines, [])
    for mode in ("blocks", "reference"):
        forbidden = "Image: not available, it may not be read."
        assert shown(pdf_page, image_mode=mode) == ([*lines, forbidden], [])


def test_a_page_of_a_pdf_that_is_gone_is_still_found(pdf_page, scans):
    """The model is told in a few words."""
    (scans / "report.pdf").unlink()
    lines, images = shown(pdf_page, allowed_image_roots=[scans])
    assert (lines[1:], images) == (["a red page", "Image: not available, its file is missing."], [])
