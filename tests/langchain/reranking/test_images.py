"""Pages that LangChain's reranker ranks by their images, and which it may read."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from PIL import Image

from jina_vllm_integrations import (
    ImageAddressError,
    ImageError,
    ImageFormatError,
    ImageInput,
    ImageLimits,
    ImageNotFoundError,
    ItemTypeError,
    JinaEncoder,
    LateInteractionReranker,
)
from langchain_hits import QUERY, page, refused
from pictures import data_uri, png


def test_a_page_is_ranked_by_its_image(make, engine, scans):
    """And not by its text; texts are ranked beside it."""
    given = [page("scans/red.png", text="blau", page=1), Document("rot"), page(None, text="no image")]
    found = make(allowed_image_roots=(scans,), top_n=None).compress_documents(given, QUERY)
    expected = LateInteractionReranker(JinaEncoder(engine, task="retrieval"), normalize="mean").rerank(
        QUERY, [scans / "red.png", "rot", "no image"]
    )
    assert [document.metadata["relevance_score"] for document in found] == [each.score for each in expected]
    assert [document.page_content for document in found] == [given[each.index].page_content for each in expected]
    assert {"image_uri": "scans/red.png", "page": 1} in [
        {name: value for name, value in document.metadata.items() if name != "relevance_score"} for document in found
    ]


def test_a_red_query_finds_the_red_page(make):
    """Rankings of images mean something, and the query of `rerank` may be an image."""
    pages = [page(data_uri(png(colour))) for colour in ("blue", "red", "green")]
    assert make().rerank(pages, ImageInput(png("red")), top_n=1)[0]["index"] == 1


def test_the_key_of_images_is_configurable(make):
    """Then the usual key is metadata like any other."""
    given = [Document("", metadata={"page_png": data_uri(png("red")), "image": "/etc/passwd"})]
    assert len(make(image_keys=("page_png",)).compress_documents(given, QUERY)) == 1


@pytest.mark.parametrize(
    "image",
    [
        "scans/red.png",
        "./private/../scans/red.png",
        "{scans}/red.png",
        "file://{scans}/red.png",
        "FILE://localhost{scans}/red.png",
        "file:{scans}/red.png",
        "file://{scans}/%72ed.png",
        "file://{scans}/a%20b%2520%231.png",
        "scans/a b%20#1.png",
        "scans/link.png",
        data_uri(png("red")),
        data_uri(png("red")).replace("data:", "DATA:"),
    ],
)
def test_images_that_may_be_read(make, scans, image):
    """Paths under a root, also as file URIs, which alone are percent-decoded, and once; data URIs always."""
    (scans / "link.png").symlink_to(scans / "red.png")
    reranker = make(allowed_image_roots=[scans], top_n=1)
    expected = reranker.rerank([page(data_uri(png("red")))], QUERY)
    assert reranker.rerank([page(image.replace("{scans}", str(scans)))], QUERY) == expected


@pytest.mark.parametrize(
    "image",
    [
        "private/blue.png",
        "{scans}/../private/blue.png",
        "scans/../private/blue.png",
        "file://{scans}/../private/blue.png",
        "file://{scans}/%2e%2e/private/blue.png",
        "file://{scans}/..%2Fprivate/blue.png",
        "scans/link.png",
        "scans/folder/blue.png",
        "scans/folder/../red.png",
        "scans2/red.png",
        "scans/missing/../../private/missing.png",
        "/etc/passwd",
        "scans/red.png\0",
        "file://{scans}/red.png%00",
    ],
)
def test_images_that_must_not_be_read(make, engine, scans, image):
    """Links and dots are followed first; a sibling whose name begins alike is outside. What exists is not said."""
    (scans / "link.png").symlink_to("../private/blue.png")
    (scans / "folder").symlink_to("../private")
    (scans.parent / "scans2").mkdir()
    message = refused(make(allowed_image_roots=(scans,)), image.replace("{scans}", str(scans)), ImageError)
    assert "must be inside allowed_image_roots" in message
    assert str(scans) in message
    assert engine.batches == []


def test_no_file_may_be_read_by_default(make, scans):
    """Roots are chosen, the working folder is none."""
    assert "allowed_image_roots (none)" in refused(make(), "scans/red.png", ImageError)


def test_a_link_may_be_a_root(make, scans):
    """Then what it leads to is the root."""
    (scans.parent / "current").symlink_to("scans")
    assert make(allowed_image_roots=("current",)).rerank([page("current/red.png"), page("scans/red.png")], QUERY)


def test_roots_stay_when_the_working_folder_changes(make, scans, monkeypatch):
    """A relative root is one of where the reranker was made."""
    reranker = make(allowed_image_roots=("scans",))
    monkeypatch.chdir(scans.parent / "private")
    assert reranker.rerank([page(str(scans / "red.png"))], QUERY)
    refused(reranker, "blue.png", ImageError)


def test_what_was_checked_is_what_is_opened(make, scans):
    """A link that is changed after the check does not matter."""
    (scans / "link.png").symlink_to("red.png")
    reranker = make(allowed_image_roots=(scans,))
    (item,) = reranker._candidates([page("scans/link.png")])
    assert item.source.path == scans / "red.png"


@pytest.mark.parametrize(
    "image",
    ["file://server/scans/red.png", "file:scans/red.png", "file:///red.png?x", "file:///red.png#x", "file://[/red.png"],
)
def test_file_uris_that_name_no_local_file(make, scans, image):
    """Another host, a relative path, and what a path has not."""
    message = refused(make(allowed_image_roots=("/",)), image, ImageError)
    assert "a file URI must be file:///" in message


def test_files_that_are_no_images(make, engine, scans):
    """Inside a root the usual errors name the document."""
    (scans / "text.png").write_text("no picture")
    reranker = make(allowed_image_roots=(scans,))
    refused(reranker, "scans/missing.png", ImageNotFoundError)
    refused(reranker, "scans", ImageNotFoundError)
    refused(reranker, "scans/text.png", ImageFormatError)
    refused(reranker, "data:text/html,hello", ImageFormatError)
    assert engine.batches == []


@pytest.mark.parametrize(
    "image", [png("red"), Image.new("RGB", (9, 9)), Path("scans/red.png"), 7, {"url": "x"}, ["scans/red.png"]]
)
def test_images_that_are_no_strings(make, image):
    """They cannot be indexed, so the error says what to store."""
    message = refused(make(allowed_image_roots=("/",)), image, ItemTypeError)
    assert f"must be a str, a path, file URI, data URI or URL, got {type(image).__name__}" in message
    assert "Store the image's path as str, or a data URI" in message


def test_urls_are_fetched_only_where_that_was_chosen(make, engine, picture_url):
    """And then not from private addresses, unless the limits vouch for them. A secret in the query is not shown."""
    message = refused(make(allowed_image_roots=("/",)), f"{picture_url}?token=secret", ImageAddressError)
    assert "Pass allow_image_urls=True" in message
    assert "secret" not in message
    assert engine.batches == []
    refused(make(allow_image_urls=True), picture_url, ImageAddressError)
    refused(make(allow_image_urls=True), "s3://bucket/red.png", ImageAddressError)
    vouching = make(allow_image_urls=True, image_limits=ImageLimits(private_hosts=frozenset({"127.0.0.1"})))
    assert vouching.rerank([page(picture_url)], QUERY) == vouching.rerank([page(data_uri(png("red")))], QUERY)


def test_limits_hold_for_images_of_metadata(make):
    """An image may not cost more than the reranker's limits."""
    refused(make(image_limits=ImageLimits(max_pixels=100)), data_uri(png("red")), ImageError)
