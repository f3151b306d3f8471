"""LangChain's embeddings of images, in every shape that its messages and stores have."""

from __future__ import annotations

import io

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.messages import HumanMessage
from langchain_core.messages.content import create_image_block
from PIL import Image

from jina_vllm_integrations import (
    ImageAddressError,
    ImageFormatError,
    ImageInput,
    ImageNotFoundError,
    ItemTypeError,
    OptionError,
    TextInput,
)
from jina_vllm_integrations.langchain.images import image_item
from pictures import data_uri, in_base64, saved

IMAGE_SHAPES = {
    "path": str,
    "path object": lambda path: path,
    "data URI": lambda path: data_uri(path.read_bytes()),
    "bytes": lambda path: path.read_bytes(),
    "binary file": lambda path: io.BytesIO(path.read_bytes()),
    "PIL": lambda path: Image.open(io.BytesIO(path.read_bytes())),
    "ImageInput": lambda path: ImageInput(str(path)),
    "Blob of a path": Blob.from_path,
    "Blob of bytes": lambda path: Blob.from_data(path.read_bytes(), mime_type="image/png"),
    "Blob of bytes with a path": lambda path: Blob.from_data(path.read_bytes(), path="gone.png"),
    "v1 block": lambda path: create_image_block(base64=in_base64(path.read_bytes()), mime_type="image/png"),
    "v1 block of a data URI": lambda path: create_image_block(url=data_uri(path.read_bytes())),
    "older block": lambda path: {
        "type": "image",
        "source_type": "base64",
        "data": in_base64(path.read_bytes()),
        "mime_type": "image/png",
    },
    "older block of a data URI": lambda path: {
        "type": "image",
        "source_type": "url",
        "url": data_uri(path.read_bytes()),
    },
    "OpenAI's block": lambda path: {
        "type": "image_url",
        "image_url": {"url": data_uri(path.read_bytes()), "detail": "low"},
    },
    "OpenAI's block, short": lambda path: {
        "type": "image_url",
        "image_url": data_uri(path.read_bytes()),
    },
}


@pytest.mark.parametrize("shape", IMAGE_SHAPES.values(), ids=IMAGE_SHAPES)
def test_an_image_in_every_shape(embeddings, encoder, red, shape):
    """The picture decides the vector, not how it was handed over."""
    expected = encoder.embed([red], role="document").tolist()
    assert embeddings.embed_images([shape(red)]) == expected
    assert embeddings.embed_image([shape(red)]) == expected
    assert [embeddings.embed_image(shape(red))] == expected
    if not isinstance(shape(red), str):
        assert embeddings.embed_multimodal([shape(red)]) == expected


def test_images_of_a_message(embeddings, red):
    """The content blocks that LangChain makes of a provider's message are understood."""
    message = HumanMessage(
        [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": data_uri(red.read_bytes())}},
        ]
    )
    text, image = embeddings.embed_multimodal(message.content_blocks)
    assert [text] == embeddings.embed_documents(["what is this?"])
    assert image == embeddings.embed_image(red)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "image", "source_type": "url", "url": "https://example.com/a.png"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ],
)
def test_a_blocks_url_is_a_url(block):
    """A block with a URL is left to the fetching of this package, with its limits."""
    assert image_item(block) == ImageInput("https://example.com/a.png")


@pytest.mark.parametrize("address", ["/etc/passwd", "file:///etc/passwd", "red.png", "ftp://example.com/a.png", ""])
@pytest.mark.parametrize("key", ["url", "image_url"])
def test_a_block_cannot_name_a_local_file(embeddings, red, monkeypatch, address, key):
    """A conversation must not choose which files of this machine are read, even where they exist."""
    monkeypatch.chdir(red.parent)
    block = {"type": "image", "url": address} if key == "url" else {"type": key, key: {"url": address}}
    with pytest.raises(ImageAddressError, match="must be http, https or a data URI") as caught:
        embeddings.embed_images([red, block])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (create_image_block(file_id="file-1"), ItemTypeError, r"got the file_id 'file-1'.*Download the file"),
        ({"type": "image", "source_type": "id", "id": "file-1"}, ItemTypeError, "got the file_id 'file-1'"),
        ({"type": "video", "url": "https://example.com"}, ItemTypeError, "got the type 'video' with type, url"),
        ({"type": "text", "text": "a"}, ItemTypeError, "got the type 'text' with type, text"),
        ({"type": "image", "base64": "%"}, ImageFormatError, "well encoded"),
        ({}, ItemTypeError, "got the type None with"),
        (Blob.from_data("a text"), ItemTypeError, r"Blob with an image has its bytes or a path.*'a text'"),
        (Blob.from_data(b"%PDF-1.7", mime_type="application/pdf"), ImageFormatError, "bytes"),
        (TextInput("a text"), ItemTypeError, "got TextInput"),
        (["a.png"], ItemTypeError, "got list"),
        (Document("a text"), ItemTypeError, "got Document"),
        ("a text", ImageNotFoundError, "'a text'"),
        (3, ItemTypeError, "got int 3"),
    ],
)
def test_what_is_no_image_is_told_with_its_position(embeddings, red, image, error, message):
    """An error names the image, says what was expected and what to do."""
    with pytest.raises(error, match=message) as caught:
        embeddings.embed_images([red, red, image])
    assert caught.value.index == 2


@pytest.mark.parametrize(
    "single", ["one text", b"bytes", {"type": "text", "text": "a"}, Blob.from_data(b"a"), io.BytesIO(), 3]
)
def test_one_input_where_several_belong_is_told(embeddings, single):
    """A str is no list of letters, a block no list of its keys."""
    for method in (embeddings.embed_documents, embeddings.embed_images, embeddings.embed_multimodal):
        with pytest.raises(ItemTypeError, match=r"got one \w+\. For one"):
            method(single)


@pytest.mark.parametrize("given", [3, None, b"bytes", ["nested"]])
def test_documents_are_texts(embeddings, given):
    """What a store hands over as a text must be one."""
    with pytest.raises(ItemTypeError, match="TextInput takes a str") as caught:
        embeddings.embed_documents(["a", given])
    assert caught.value.index == 1


def test_embed_image_is_what_stores_call(embeddings, red, tmp_path):
    """Chroma and LanceDB look for the method and pass ``uris=``, a list of paths; others pass one image."""
    blue = saved(tmp_path / "blue.png", "blue")
    both = embeddings.embed_image(uris=[str(red), str(blue)])
    assert both == embeddings.embed_images([red, blue])
    assert embeddings.embed_image((red, blue)) == both
    assert [embeddings.embed_image(str(red)), embeddings.embed_image(blue)] == both


def test_texts_and_images_together(embeddings, encoder, red):
    """Each input has one vector; the input type decides the prompt of texts only."""
    inputs = ["ein Text", red, TextInput("noch einer"), {"type": "text", "text": "a block"}]
    items = [*inputs[:3], "a block"]
    for role in ("document", "query"):
        vectors = embeddings.embed_multimodal(inputs, input_type=role)
        np.testing.assert_array_equal(vectors, encoder.embed(items, role=role))
    assert embeddings.embed_multimodal(inputs) == embeddings.embed_multimodal(inputs, "document")
    with pytest.raises(OptionError, match="input_type must be one of 'query', 'document', got 'passage'"):
        embeddings.embed_multimodal(inputs, input_type="passage")


def test_a_text_that_is_a_path_stays_a_text(embeddings, red):
    """Nobody who writes a text decides that a file is read; a data URI among texts is an error."""
    assert embeddings.embed_multimodal([str(red)]) == embeddings.embed_documents([str(red)])
    for method in (embeddings.embed_documents, embeddings.embed_multimodal):
        with pytest.raises(ItemTypeError, match="item 0: a str is a text"):
            method([data_uri(red.read_bytes())])


def test_inputs_that_are_interleaved_are_told(embeddings, red):
    """One input is one text or one image, and a list of both is neither."""
    with pytest.raises(ItemTypeError, match="item 1: an item is a text"):
        embeddings.embed_multimodal(["a", ["b", red]])
