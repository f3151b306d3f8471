"""What a model is shown of a page by LangChain's tool, and what it never is."""

from __future__ import annotations

import base64
import io
import logging

import pytest
from langchain_core.documents import Document
from PIL import ExifTags, Image

from jina_vllm_integrations import ImageLimits
from jina_vllm_integrations.langchain import PageImageLoader, create_page_search_tool
from langchain_tool import BLUE, RED, PagesOfAFolder, answer, call, colour, made, page, picture, shown, two_pages
from page_files import WORD
from pdf_files import PdfPage, pdf
from pictures import data_uri, encoded, noise, png


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
    """A thumbnail follows the text of each page that has an image, from files and data URIs, under the usual key."""
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
    assert shown(both, image_keys=["image_uri", "image"], image_mode="url")[1] == [{"type": "image", "url": url}]
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


@pytest.fixture
def pdf_page(scans):
    """Return the second page of a PDF, a red one, as its loader makes it."""
    (scans / "report.pdf").write_bytes(pdf(PdfPage(), PdfPage(text="a red page", colour=(1, 0, 0))))
    return PageImageLoader(scans / "report.pdf").load()[1]


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


def test_a_page_of_a_pdf_that_cannot_be_had_is_still_found(pdf_page, scans, caplog):
    """Whatever became of its file; the model is told in a few words, and the log in full."""
    contents = {
        "its file is damaged or of another kind": b"%PDF-1.7 no more",
        "its file is encrypted": pdf(PdfPage(), PdfPage(), password=WORD),
        "its file is missing": None,
    }
    for reason, content in contents.items():
        (scans / "report.pdf").write_bytes(content) if content else (scans / "report.pdf").unlink()
        lines, images = shown(pdf_page, allowed_image_roots=[scans])
        assert (lines[1:], images) == (["a red page", f"Image: not available, {reason}."], [])
    assert {record.levelname for record in caplog.records} == {"WARNING"}
