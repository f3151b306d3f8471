"""A found page as a picture, in LangChain's terms."""

from __future__ import annotations

import asyncio
import base64
import io

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from PIL import Image

from jina_vllm_integrations import ImageLimits
from jina_vllm_integrations.errors import (
    EncryptedPdfError,
    ImageAddressError,
    ImageError,
    ImageSizeError,
    ItemTypeError,
    OptionError,
    PageNotFoundError,
)
from jina_vllm_integrations.langchain import PageImageLoader, apage_image, page_image
from langchain_tool import RED, PagesOfAFolder, page
from page_files import WORD
from pdf_files import PdfPage, pdf
from pictures import colour_of, data_uri, encoded, noise, png


@pytest.fixture(params=["sync", "async"])
def picture(request):
    """Return `page_image`, or its twin in an event loop of its own."""
    if request.param == "sync":
        return page_image
    return lambda document, **options: asyncio.run(apage_image(document, **options))


@pytest.fixture
def pages(scans):
    """Return the pages of a PDF, a red one and a blue one, as their loader makes them."""
    (scans / "report.pdf").write_bytes(pdf(PdfPage(colour=(1, 0, 0)), PdfPage(colour=(0, 0, 1))))
    return PageImageLoader(scans / "report.pdf").load()


def test_any_source(picture, scans, pages, picture_url):
    """A page of a PDF, a file by path and by URI, a data URI and an allowed URL: each is the picture that it names."""
    options = {
        "allowed_image_roots": ["scans"],
        "allow_image_urls": True,
        "image_limits": ImageLimits(private_hosts=frozenset({"127.0.0.1"})),
    }
    sources = [page("scans/red.png"), page((scans / "red.png").as_uri()), page(RED), page(picture_url)]
    assert [colour_of(picture(document, **options)) for document in [*pages, *sources]] == [
        *("red", "blue"),
        *["red"] * 4,
    ]
    assert picture(pages[0], **options).size == (pages[0].metadata["width"], pages[0].metadata["height"])


def test_forms(picture, pages, scans):
    """PIL's image, a JPEG file, and a block that a message takes."""
    options = {"allowed_image_roots": [scans]}
    assert picture(pages[1], **options).mode == "RGB"
    content = picture(pages[1], form="bytes", **options)
    assert (Image.open(io.BytesIO(content)).format, colour_of(Image.open(io.BytesIO(content)))) == ("JPEG", "blue")
    block = picture(pages[1], form="block", **options)
    assert HumanMessage([block]).content_blocks == [block]
    assert (block["mime_type"], base64.b64decode(block["base64"])) == ("image/jpeg", content)
    with pytest.raises(OptionError, match="form"):
        picture(pages[1], form="png", **options)


def test_a_picture_has_no_more_pixels_than_asked_for(picture):
    """In its proportions; a small one is not enlarged."""
    document = page(data_uri(encoded(noise(400, 200), compress_level=1)))
    assert picture(document).size == (400, 200)
    assert picture(document, max_pixels=20_000).size == (200, 100)
    assert picture(document, max_pixels=1).size == (1, 1)
    row = page(data_uri(png(255, (60_000, 1), mode="1")))
    assert picture(row, max_pixels=100).size == (100, 1)
    assert picture(page(data_uri(png(255, (2000, 3000), mode="1")))).size == (1211, 1816)
    with pytest.raises(OptionError, match="max_pixels must be a whole number from 1"):
        picture(document, max_pixels=0)


def test_a_picture_too_long_for_jpeg(picture):
    """Says what to do, and is there as PIL's image."""
    row = page(data_uri(png(255, (70_000, 1), mode="1")))
    with pytest.raises(ImageSizeError, match="65,500 pixels a side, got 70,000 x 1"):
        picture(row, form="block")
    assert picture(row).size == (70_000, 1)


def test_a_retriever_says_what_may_be_read(picture, pages, scans):
    """Also inside of another runnable; the caller may allow less."""
    document = Document("", metadata={"page_png": pages[1].metadata["image_uri"]})
    retriever = PagesOfAFolder(documents=[document], allowed_image_roots=(scans,))
    for runnable in (retriever, retriever.with_config(tags=["pages"])):
        assert colour_of(picture(document, retriever=runnable)) == "blue"
    with pytest.raises(ImageError, match="must be inside allowed_image_roots"):
        picture(document, retriever=retriever, allowed_image_roots=())
    with pytest.raises(OptionError, match="retriever"):
        picture(document, retriever="scans")


def test_a_page_whose_image_cannot_be_had(picture, pages, scans):
    """Each reason is an error of its own."""
    with pytest.raises(ItemTypeError, match="must have an image"):
        picture(Document("a text"))
    with pytest.raises(ImageError, match="must be inside allowed_image_roots"):
        picture(pages[0])
    with pytest.raises(ImageAddressError, match="allow_image_urls=True"):
        picture(page("https://example.com/red.png"))
    (scans / "report.pdf").write_bytes(pdf(PdfPage(), password=WORD))
    with pytest.raises(EncryptedPdfError):
        picture(pages[0], allowed_image_roots=[scans])
    (scans / "report.pdf").unlink()
    with pytest.raises(PageNotFoundError):
        picture(pages[0], allowed_image_roots=[scans])
