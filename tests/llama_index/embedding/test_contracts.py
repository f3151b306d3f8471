"""LlamaIndex's embedding: what LlamaIndex expects of any, and images and errors."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import MultiModalEmbedding, resolve_embed_model
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource, Node, TextNode
from PIL import Image
from pydantic import ValidationError

import jina_vllm_integrations.llama_index
from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import (
    CheckpointError,
    EmptyTextError,
    ImageFormatError,
    ImageInput,
    ImageNotFoundError,
    InputError,
    ItemTypeError,
    JinaEncoder,
    MissingExtraError,
    OptionError,
    TextTooLongError,
)
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding
from jina_vllm_integrations.llama_index.images import image_item
from jina_vllm_integrations.testing import FakeEngine
from pictures import data_uri, in_base64

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}


def test_it_is_one_of_llama_indexs():
    """The usual smoke test of an integration, and the name of its serialised form."""
    names = [base.__name__ for base in JinaVLLMEmbedding.__mro__]
    assert {BaseEmbedding.__name__, MultiModalEmbedding.__name__} <= set(names)
    assert JinaVLLMEmbedding.class_name() == "JinaVLLMEmbedding"
    assert "JinaVLLMEmbedding" in dir(jina_vllm_integrations.llama_index)


def test_llama_index_missing_is_said(monkeypatch):
    """Without the extra, its name and the command are told."""
    monkeypatch.setattr("jina_vllm_integrations.llama_index.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"jina-vllm-integrations\[llama-index\]"):
        jina_vllm_integrations.llama_index.__getattr__("JinaVLLMEmbedding")


def test_texts_queries_and_images_are_the_encoders(embedding, encoder, red):
    """Documents and queries get their own prompts, and all vectors are the encoder's."""
    documents = encoder.embed(["ein Text", red], role="document").tolist()
    assert [embedding.get_text_embedding("ein Text"), embedding.get_image_embedding(str(red))] == documents
    assert embedding.get_query_embedding("ein Text") == encoder.embed(["ein Text"], role="query")[0].tolist()
    assert embedding.get_query_embedding("ein Text") != documents[0]


def test_all_ways_agree(embedding, red):
    """Every method, its asynchronous twin, and what wrappers call directly return the same."""

    async def coroutines():
        return [
            await embedding.aget_query_embedding("a"),
            await embedding.aget_text_embedding("a"),
            await embedding.aget_text_embedding_batch(["a", "b"]),
            await embedding.aget_image_embedding(str(red)),
            await embedding.aget_image_embedding_batch([str(red)]),
            await embedding.aget_agg_embedding_from_queries(["a", "b"]),
            await embedding._aget_query_embedding("a"),
            await embedding._aget_text_embedding("a"),
            await embedding._aget_text_embeddings(["a", "b"]),
            await embedding._aget_image_embedding(str(red)),
            await embedding._aget_image_embeddings([str(red)]),
        ]

    query, text = embedding.get_query_embedding("a"), embedding.get_text_embedding("a")
    texts = embedding.get_text_embedding_batch(["a", "b"])
    image, images = embedding.get_image_embedding(str(red)), embedding.get_image_embedding_batch([str(red)])
    assert asyncio.run(coroutines()) == [
        query,
        text,
        texts,
        image,
        images,
        embedding.get_agg_embedding_from_queries(["a", "b"]),
        embedding._get_query_embedding("a"),
        embedding._get_text_embedding("a"),
        embedding._get_text_embeddings(["a", "b"]),
        embedding._get_image_embedding(str(red)),
        embedding._get_image_embeddings([str(red)]),
    ]
    assert texts[0] == text
    assert images == [image]
    for vector in (query, text, image, *texts, *images):
        assert type(vector) is list
        assert {type(number) for number in vector} == {float}


def test_queries_are_aggregated_in_one_batch(engine, embedding):
    """Several queries are not embedded one by one."""
    one, other = (np.array(embedding.get_query_embedding(query)) for query in "ab")
    before = len(engine.batches)
    np.testing.assert_allclose(embedding.get_agg_embedding_from_queries(["a", "b"]), (one + other) / 2)
    assert len(engine.batches) == before + 1
    assert embedding.get_agg_embedding_from_queries(["a", "b"], agg_fn=lambda vectors: vectors[1]) == other.tolist()


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_order_is_kept_whatever_the_batches(engine, red, size):
    """Nine inputs come back as nine vectors in their order."""
    embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=size)
    texts = [f"Absatz {number}" for number in range(9)]
    expected = [embedding.get_text_embedding(text) for text in texts]
    assert embedding.get_text_embedding_batch(texts) == expected
    assert asyncio.run(embedding.aget_text_embedding_batch(texts)) == expected
    assert len(embedding.get_image_embedding_batch([red] * 9)) == 9


def test_nothing_to_embed_starts_nothing():
    """A model that does not exist is told by the first text, and not before."""
    embedding = JinaVLLMEmbedding(model="no such model")
    assert embedding.get_text_embedding_batch([]) == embedding.get_image_embedding_batch([]) == embedding([]) == []
    assert asyncio.run(embedding.aget_text_embedding_batch([])) == asyncio.run(embedding.acall([])) == []
    assert embedding._get_text_embeddings([]) == []
    VectorStoreIndex([], embed_model=embedding)
    with pytest.raises(CheckpointError, match="no such model"):
        embedding.get_text_embedding("ein Text")


def test_the_model_is_reported(engine):
    """Events and traces say which model it was, of a given engine too."""
    embedding = JinaVLLMEmbedding(engine=engine)
    embedding.get_text_embedding("a")
    assert embedding.model_name == embedding.to_payload()["model_name"] == "fake"
    assert JinaVLLMEmbedding(model="jinaai/x").to_payload()["model_name"] == "jinaai/x"
    assert JinaVLLMEmbedding(model_name="jinaai/x").model == "jinaai/x"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of engine and model must be given"),
        ({"engine": object(), "model": "jinaai/x"}, "one of engine and model must be given"),
        ({"engine": object(), "engine_options": {"dtype": "float32"}}, "engine options go with model="),
        ({"model": "x", "model_name": "y"}, "model_name is the model's, got 'y' for 'x'"),
        ({"model": "x", "dimension": 128}, "dimension\n.*not permitted"),
        ({"model": "x", "task": "classification"}, "task\n.*'text-matching'"),
        ({"model": "x", "embed_batch_size": 0}, "embed_batch_size\n.*greater than 0"),
        ({"model": "x", "embed_batch_size": 4096}, "embed_batch_size\n.*less than or equal to 2048"),
    ],
)
def test_wrong_settings_are_told_when_one_is_made(settings, message):
    """Typos and contradictions do not wait for the first text."""
    with pytest.raises(ValidationError, match=message):
        JinaVLLMEmbedding(**settings)


def test_what_decides_vectors_does_not_change(embedding):
    """An assignment that would do nothing is refused; what LlamaIndex assigns is not."""
    with pytest.raises(ValidationError, match="frozen"):
        embedding.dimensions = 16
    manager = CallbackManager([])
    assert resolve_embed_model(embedding, callback_manager=manager).callback_manager is manager


def test_task_and_dimensions_apply(engine):
    """Text matching has one prompt; a Matryoshka size is the vectors' length, another an error of the first text."""
    matching = JinaVLLMEmbedding(engine=engine, task="text-matching", dimensions=16)
    assert matching.get_text_embedding("a") == matching.get_query_embedding("a")
    assert len(matching.get_text_embedding("a")) == 16
    with pytest.raises(OptionError, match="Matryoshka sizes 16, 32, 64, got 17"):
        JinaVLLMEmbedding(engine=engine, dimensions=17).get_text_embedding("a")


# Images and errors.

IMAGE_SHAPES = {
    "path": str,
    "path object": lambda path: path,
    "data URI": lambda path: data_uri(path.read_bytes()),
    "bytes": lambda path: path.read_bytes(),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "PIL": lambda path: Image.open(io.BytesIO(path.read_bytes())),
    "ImageInput": lambda path: ImageInput(str(path)),
    "ImageNode of base64": lambda path: ImageNode(image=in_base64(path.read_bytes())),
    "ImageNode of a path": lambda path: ImageNode(image_path=str(path), text="a caption"),
    "ImageNode of a data URI": lambda path: ImageNode(image_url=data_uri(path.read_bytes())),
    "ImageDocument of a path": lambda path: ImageDocument(image_path=str(path)),
    "ImageDocument of base64": lambda path: ImageDocument(image=in_base64(path.read_bytes()).encode()),
    "Node with bytes": lambda path: Node(image_resource=MediaResource(data=path.read_bytes())),
    "Node with a path": lambda path: Node(image_resource=MediaResource(path=path)),
    "Document with bytes": lambda path: Document(image_resource=MediaResource(data=path.read_bytes())),
    "ImageBlock of bytes": lambda path: ImageBlock(image=path.read_bytes()),
    "ImageBlock of a file": lambda path: ImageBlock(image=io.BytesIO(path.read_bytes())),
    "ImageBlock of a path": lambda path: ImageBlock(path=path),
    "ImageBlock of a data URI": lambda path: ImageBlock(url=data_uri(path.read_bytes())),
}


@pytest.mark.parametrize("shape", IMAGE_SHAPES.values(), ids=IMAGE_SHAPES)
def test_an_image_in_every_shape(embedding, encoder, red, shape):
    """The picture decides the vector, not how it was handed over."""
    expected = encoder.embed([red], role="document").tolist()
    assert embedding.get_image_embedding_batch([shape(red)]) == expected
    assert [embedding.get_image_embedding(shape(red))] == expected


@pytest.mark.parametrize(
    "image",
    [
        ImageNode(text="a text", image_url="https://example.com/a.png"),
        Node(image_resource=MediaResource(url="https://example.com/a.png")),
        ImageBlock(url="https://example.com/a.png"),
    ],
)
def test_a_url_is_left_to_the_safe_fetching(image):
    """Nothing is downloaded by LlamaIndex's means, which reach any address."""
    assert image_item(image) == ImageInput("https://example.com/a.png")


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (lambda embedding: embedding.get_text_embedding_batch(["a", "b", " ", "c"]), EmptyTextError),
        (lambda embedding: embedding.get_text_embedding_batch(["a", "b", "long " * 5000]), TextTooLongError),
        (lambda embedding: embedding.get_image_embedding_batch([Image.new("RGB", (60, 40))] * 2 + ["no such.png"]), ImageNotFoundError),  # noqa: E501
        (lambda embedding: embedding.get_image_embedding_batch([Image.new("RGB", (60, 40))] * 2 + [b"no image"]), ImageFormatError),  # noqa: E501
        (lambda embedding: embedding.get_image_embedding_batch([Image.new("RGB", (60, 40))] * 2 + [TextNode(text="a")]), ItemTypeError),  # noqa: E501
        (lambda embedding: embedding([TextNode(text="a"), TextNode(text="b"), TextNode()]), EmptyTextError),
        (lambda embedding: asyncio.run(embedding.aget_text_embedding_batch(["a", "b", ""])), EmptyTextError),
        (lambda embedding: asyncio.run(embedding.acall([TextNode(text="a"), TextNode(text="b"), TextNode()])), EmptyTextError),  # noqa: E501
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [2, 100])
def test_a_bad_input_is_named_by_its_place_in_the_call(engine, size, call, wrong):
    """Whatever the batches and duplicates, the index is the caller's."""
    with pytest.raises(wrong, match="item 2: ") as raised:
        call(JinaVLLMEmbedding(engine=engine, embed_batch_size=size))
    assert raised.value.index == 2


def test_an_input_alone_has_no_index(embedding, red):
    """One text or image needs no number; a damaged picture is found while it is computed."""
    with pytest.raises(EmptyTextError) as raised:
        embedding.get_query_embedding("")
    assert raised.value.index is None
    with pytest.raises(ImageFormatError) as raised:
        embedding.get_image_embedding(red.read_bytes()[:-40])
    assert raised.value.index is None
    with pytest.raises(ImageFormatError, match="item 2: "):
        embedding.get_image_embedding_batch([red, red, red.read_bytes()[:-40]])


def test_one_where_several_are_expected_is_refused(embedding, red):
    """A text is not taken for a list of letters, nor a node for one of fields."""
    with pytest.raises(ItemTypeError, match=r"For one item write \[item\]"):
        embedding.get_text_embedding_batch("ein Text")
    with pytest.raises(ItemTypeError, match=r"got one ImageNode. For one write \[it\]"):
        embedding.get_image_embedding_batch(ImageNode(image_path=str(red)))


def test_a_long_text_is_cut_where_that_was_chosen():
    """Truncation is the caller's choice."""
    with FakeEngine(max_tokens=64) as engine:
        with pytest.raises(TextTooLongError, match="choose truncate=True"):
            JinaVLLMEmbedding(engine=engine).get_text_embedding("long " * 100)
        assert JinaVLLMEmbedding(engine=engine, truncate=True).get_text_embedding("long " * 100)


def test_image_limits_apply(engine, red):
    """What an image may cost is a setting."""
    embedding = JinaVLLMEmbedding(engine=engine, image_limits=ImageLimits(max_pixels=100))
    with pytest.raises(InputError, match="pixels"):
        embedding.get_image_embedding(red)


# vLLM itself.


def test_vllm_computes_the_encoders_vectors(vllm_engine, checkpoint, red):
    """An embedding that asks for its own engine gets the session's vLLM, and its vectors are the encoder's."""
    encoder = JinaEncoder(vllm_engine, task="retrieval")
    with JinaVLLMEmbedding(model=checkpoint, engine_options=ENGINE_OPTIONS) as embedding:
        nodes = embedding([TextNode(text="ein Text"), ImageNode(image=in_base64(red.read_bytes()))])
        documents = encoder.embed(["ein Text", red], role="document")
        np.testing.assert_allclose([node.embedding for node in nodes], documents, **SAME)
        np.testing.assert_allclose(
            embedding.get_query_embedding("ein Text"), encoder.embed(["ein Text"], role="query")[0], **SAME
        )
        assert embedding.model_name == str(checkpoint)
