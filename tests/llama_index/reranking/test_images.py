"""Nodes that LlamaIndex's reranker ranks by their images, and which it may read."""

from __future__ import annotations

import pytest
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource, Node, QueryBundle, TextNode

from jina_vllm_integrations import EmptyTextError, ImageAddressError, ImageError
from llama_index_hits import QUERY, both_ways, expected, found, refused
from pictures import data_uri, in_base64, png


def image_nodes(scans):
    """Return red pages in all shapes that LlamaIndex has, with equal metadata and texts."""
    path = str(scans / "red.png")
    with_text = {"metadata": {"title": "t"}, "text_resource": MediaResource(text="blau")}
    return [
        ImageNode(image=in_base64(png("red")), text="blau", metadata={"title": "t"}),
        ImageNode(image_path=path, text="blau", metadata={"title": "t"}),
        Node(image_resource=MediaResource(data=png("red")), **with_text),
        Node(image_resource=MediaResource(path=path), **with_text),
        Document(image_resource=MediaResource(path=path), **with_text),
        ImageDocument(image=in_base64(png("red")), **with_text),
        ImageDocument(image_path=path, **with_text),
        TextNode(text="blau", metadata={"image_uri": path}),
        TextNode(text="blau", metadata={"image_uri": data_uri(png("red"))}),
    ]


def test_a_page_is_ranked_by_its_image(make, engine, scans):
    """In whichever shape, and not by its text; texts are ranked beside it."""
    given = found(*image_nodes(scans), TextNode(text="rot"))
    ranked = dict(expected(engine, QUERY, [scans / "red.png", "rot"]))
    for rerank in both_ways(make(allowed_image_roots=(scans,), top_n=None), given):
        scores = {each.node_id: each.score for each in rerank()}
        assert [scores[each.node_id] for each in given] == [ranked[0]] * 9 + [ranked[1]]


def test_images_survive(make, scans):
    """Copies hold them as the nodes did."""
    given = found(*image_nodes(scans))
    reranked = make(allowed_image_roots=(scans,), top_n=None).postprocess_nodes(given, query_str=QUERY)
    assert [each.node for each in reranked] == [each.node for each in given]


@pytest.mark.parametrize("url", [False, True])
def test_the_query_may_be_an_image(make, scans, url):
    """The caller's own, so read wherever it is, as a path or a data URI; it finds the page of its colour."""
    image = data_uri(png("blue")) if url else str(scans.parent / "private" / "blue.png")
    pages = found(*(ImageNode(image=in_base64(png(colour)), id_=colour) for colour in ("green", "blue", "red")))
    for rerank in both_ways(make(top_n=1), pages, QueryBundle("", image_path=image)):
        assert [each.node_id for each in rerank()] == ["blue"]


@pytest.mark.parametrize(
    "path", ["private/blue.png", "scans/../private/blue.png", "scans/link.png", "/etc/passwd", "scans2/red.png"]
)
def test_files_of_nodes_must_be_allowed(make, engine, scans, path):
    """Whoever wrote the store could have any file read otherwise."""
    (scans / "link.png").symlink_to("../private/blue.png")
    reranker = make(allowed_image_roots=(scans,))
    for node in (
        ImageNode(image_path=path, text="a text"),
        Node(image_resource=MediaResource(path=path)),
        TextNode(text="a text", metadata={"image_uri": path}),
    ):
        assert "must be inside allowed_image_roots" in refused(reranker, node, ImageError)
    assert "allowed_image_roots (none)" in refused(make(), ImageNode(image_path="scans/red.png"), ImageError)
    assert engine.batches == []


def test_urls_are_fetched_only_where_that_was_chosen(make, engine):
    """And then not from private addresses."""
    node = ImageNode(image_url="http://127.0.0.1:9/red.png?token=secret")
    message = refused(make(), node, ImageAddressError)
    assert "Pass allow_image_urls=True" in message
    assert "secret" not in message
    refused(make(allow_image_urls=True), node, ImageAddressError)
    assert engine.batches == []


def test_roots_stay_when_the_working_folder_changes(make, scans, monkeypatch):
    """A relative root is one of where the reranker was made."""
    reranker = make(allowed_image_roots=["scans"])
    monkeypatch.chdir(scans.parent / "private")
    assert reranker.postprocess_nodes(found(ImageNode(image_path=str(scans / "red.png"))), query_str=QUERY)
    refused(reranker, ImageNode(image_path="blue.png"), ImageError)


@pytest.mark.parametrize(
    "node", [TextNode(text=" "), ImageNode(), Node(), TextNode(text="", metadata={"file_path": "/scans/red.png"})]
)
def test_a_node_with_neither_text_nor_image_is_named(make, engine, node):
    """Metadata alone is neither: pages of a file that lost their images would look the same."""
    assert "under 'image_uri', got neither" in refused(make(), node, EmptyTextError)
    assert engine.batches == []
