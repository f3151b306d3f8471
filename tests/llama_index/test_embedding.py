"""LlamaIndex's embedding: texts and images in every shape, and the framework's traps."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import multiprocessing
import pickle
import threading
import time

import numpy as np
import pytest
from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.embeddings import MockEmbedding, MultiModalEmbedding, resolve_embed_model
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource, MetadataMode, Node, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from PIL import Image
from pydantic import ValidationError

import jina_vllm_integrations.llama_index
from engine_options import ENGINE_OPTIONS
from fake_engines import GatheringEngine, SilentEngine
from jina_vllm_integrations import (
    CheckpointError,
    EmptyTextError,
    EngineClosedError,
    EngineStartError,
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
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, PageImageReader
from jina_vllm_integrations.llama_index.caching import COLLECTION
from jina_vllm_integrations.llama_index.images import image_item, label
from jina_vllm_integrations.testing import FakeEngine
from pictures import data_uri, in_base64, saved

# An index looks for LangChain's embeddings, by importing what of LangChain is there.
pytestmark = pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}
# A cache keeps float16.
KEPT = {"rtol": 0, "atol": 1e-3}


class Limiter:
    """Counts who asked."""

    def __init__(self):
        self.n_acquired = 0

    def acquire(self):
        """Count."""
        self.n_acquired += 1

    async def async_acquire(self):
        """Count."""
        self.n_acquired += 1


@pytest.fixture
def embedding(engine):
    """Return an embedding over it."""
    return JinaVLLMEmbedding(engine=engine)


@pytest.fixture
def cached(engine):
    """Return an embedding over it that keeps its vectors."""
    return JinaVLLMEmbedding(engine=engine, embeddings_cache=SimpleKVStore())


@pytest.fixture
def red(tmp_path):
    """Return the path of a red picture."""
    return saved(tmp_path / "red.png", "red")


@pytest.fixture
def blue(tmp_path):
    """Return the path of a blue picture."""
    return saved(tmp_path / "blue.png", "blue")


async def until(condition):
    """Wait for what other threads do."""
    while not condition():  # noqa: ASYNC110 - they know no event of this loop
        await asyncio.sleep(0.001)


# Contracts: what LlamaIndex expects of any embedding.


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


# As a transformation.


def image_nodes(red):
    """Return nodes that hold a picture in each way, with names and captions that must not be embedded."""
    return [
        ImageNode(image_path=str(red), metadata={"file_path": str(red)}),
        ImageNode(image=in_base64(red.read_bytes()), text="a caption"),
        ImageDocument(image_path=str(red), metadata={"file_path": str(red)}, text="a caption"),
        Node(image_resource=MediaResource(data=red.read_bytes()), metadata={"page": 1}),
    ]


@pytest.mark.parametrize("run", [lambda e, nodes: e(nodes), lambda e, nodes: asyncio.run(e.acall(nodes))])
def test_an_image_is_not_embedded_as_its_file_name(embedding, encoder, red, run):
    """Trap: LlamaIndex's own transformation embeds "file_path: /…/red.png" for a picture."""
    text = TextNode(text="ein Text", metadata={"page": 2})
    nodes = [text, *image_nodes(red)]
    (expected,) = encoder.embed([red], role="document").tolist()
    assert run(embedding, nodes) == nodes
    assert [node.embedding for node in nodes[1:]] == [expected] * 4
    content = text.get_content(MetadataMode.EMBED)
    assert "page: 2" in content
    assert text.embedding == embedding.get_text_embedding(content)


def test_pictures_of_a_folder_go_through_a_pipeline_into_an_index(engine, encoder, red, blue, tmp_path):
    """A query for a colour finds its picture, read, split, embedded and stored by LlamaIndex's own parts."""
    embedding = JinaVLLMEmbedding(engine=engine)
    store = SimpleVectorStore()
    documents = SimpleDirectoryReader(tmp_path, file_extractor={".png": PageImageReader()}).load_data()
    nodes = IngestionPipeline(transformations=[SentenceSplitter(), embedding], vector_store=store).run(
        documents=documents
    )
    expected = dict(zip((str(red), str(blue)), encoder.embed([red, blue], role="document").tolist(), strict=True))
    assert {node.metadata["file_path"]: node.embedding for node in nodes} == expected
    assert store.data.embedding_dict == {node.node_id: node.embedding for node in nodes}


def test_base64_nodes_are_not_lost_on_the_documented_way(embedding, red):
    """Trap: an index that is built of nodes without text and metadata drops them, though they have a vector."""
    nodes = embedding([ImageNode(image=in_base64(red.read_bytes())), TextNode(text="ein Text")])
    assert len(VectorStoreIndex(nodes, embed_model=embedding).index_struct.nodes_dict) == 1  # LlamaIndex's doing
    index = VectorStoreIndex([], embed_model=embedding)
    index.insert_nodes(nodes)
    assert len(index.index_struct.nodes_dict) == 2
    assert index.vector_store.data.embedding_dict[nodes[0].node_id] == nodes[0].embedding
    store = SimpleVectorStore()
    IngestionPipeline(transformations=[embedding], vector_store=store).run(
        nodes=[ImageNode(image=in_base64(red.read_bytes()))]
    )
    assert list(store.data.embedding_dict.values()) == [nodes[0].embedding]


@pytest.mark.parametrize(
    "node",
    [
        ImageNode(image_resource=MediaResource(data=b"some bytes"), metadata={"file_path": "a.png"}),
        Node.from_dict(Node(image_resource=MediaResource(data=b"some bytes"), metadata={"file_path": "a"}).to_dict()),
        ImageDocument(text="a caption"),
    ],
)
def test_a_node_that_lost_its_image_is_not_embedded_as_text(embedding, node):
    """Trap: an image_resource's bytes get lost when LlamaIndex makes an ImageNode of it, or serialises it."""
    with pytest.raises(ItemTypeError, match=r"must have an image.*no bytes, path or URL.*get lost"):
        embedding([node])


def test_an_empty_node_is_named(embedding):
    """A node without anything is an error that says which, and changes no other."""
    nodes = [TextNode(text="ein Text"), TextNode(id_="the empty one")]
    with pytest.raises(EmptyTextError, match=r"item 1: .*'the empty one' has neither. Leave it out"):
        embedding(nodes)
    assert nodes[0].embedding is None


def test_a_captioned_picture_in_chunks_is_computed_once(engine, embedding, red):
    """Trap: a splitter gives each chunk of a caption all of the picture."""
    document = ImageDocument(image=in_base64(red.read_bytes()).encode(), text="Ein langer Satz über das Bild. " * 60)
    nodes = SentenceSplitter(chunk_size=64, chunk_overlap=0).get_nodes_from_documents([document])
    assert len(nodes) > 3
    embedding(nodes)
    assert engine.n_requests == 1
    assert len({tuple(node.embedding) for node in nodes}) == 1
    asyncio.run(embedding.acall(nodes))
    assert engine.n_requests == 2
    MultiModalVectorStoreIndex(
        [node.model_copy(update={"embedding": None}) for node in nodes],
        embed_model=MockEmbedding(embed_dim=4),
        image_embed_model=embedding,
    )
    assert engine.n_requests == 3


def test_a_multimodal_index_finds_texts_and_pictures(embedding, red, blue):
    """The index of two stores, with this embedding for both, and searched by text and by picture."""
    nodes = [
        ImageNode(image_path=str(red)),
        ImageNode(image=in_base64(blue.read_bytes())),
        TextNode(text="ein roter Kreis"),
    ]
    index = MultiModalVectorStoreIndex([], embed_model=embedding, image_embed_model=embedding)
    index.insert_nodes(nodes)
    (text,) = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1).text_retrieve("ein roter Kreis")
    assert text.node_id == nodes[2].node_id
    retriever = index.as_retriever(image_similarity_top_k=1)
    (picture,) = retriever.image_to_image_retrieve(str(blue))
    assert picture.node_id == nodes[1].node_id
    assert picture.score == pytest.approx(1)
    assert len(asyncio.run(retriever.atext_to_image_retrieve("rot"))) == 1


# The cache of a pipeline.


@pytest.mark.parametrize(
    "make",
    [lambda path: ImageNode(image=in_base64(path.read_bytes())), lambda path: ImageDocument(image_path=str(path))],
)
def test_a_pipelines_cache_does_not_return_another_picture(embedding, encoder, red, blue, make):
    """Trap: a pipeline's cache knows nodes by their text, which two pictures have in common: none."""
    pipeline = IngestionPipeline(transformations=[embedding])
    expected = encoder.embed([red, blue], role="document").tolist()
    for path, vector in zip((red, blue), expected, strict=True):
        node = make(path)
        (returned,) = pipeline.run(nodes=[node])
        assert (returned.node_id, returned.embedding) == (node.node_id, vector)
        (returned,) = asyncio.run(pipeline.arun(nodes=[node]))
        assert (returned.node_id, returned.embedding) == (node.node_id, vector)


def test_texts_may_be_left_to_a_pipelines_cache(engine):
    """Whoever has texts only can choose the pipeline's cache; another setting is another entry."""
    cache = IngestionCache()

    def run(**settings):
        embedding = JinaVLLMEmbedding(engine=engine, ingestion_cache=True, **settings)
        pipeline = IngestionPipeline(transformations=[embedding], cache=cache)
        before = engine.n_requests
        (node,) = pipeline.run(nodes=[TextNode(text="ein Text")])
        return engine.n_requests - before, len(node.embedding)

    assert [run(), run(), run(dimensions=16), run(dimensions=16)] == [(1, 64), (0, 64), (1, 16), (0, 16)]


def test_every_setting_that_changes_vectors_changes_the_hash(engine):
    """A pipeline's cache serves nothing for another model, task, size or quantisation, and depends on no secret."""

    def hash_of(**settings):
        embedding = JinaVLLMEmbedding(**{"model": "jinaai/x", "ingestion_cache": True, **settings})
        return get_transformation_hash([TextNode(text="a")], embedding)

    given = {"model": None, "engine": engine}
    different = [
        {},
        {"model": "jinaai/y"},
        {"task": "code"},
        {"dimensions": 16},
        {"truncate": True},
        {"image_limits": ImageLimits(max_pixels=100)},
        {"engine_options": {"quantization": "fp8"}},
        {"engine_options": {"dtype": "float32"}},
        {"embed_batch_size": 10},
        given,
    ]
    assert len({hash_of(**settings) for settings in different}) == len(different)
    same = [{}, {"engine_options": {"hf_token": "secret", "gpu_memory_utilization": 0.5}}, {"model_name": "jinaai/x"}]
    assert len({hash_of(**settings) for settings in same}) == 1
    assert hash_of(embeddings_cache=SimpleKVStore()) == hash_of()
    before = hash_of(**given)
    JinaVLLMEmbedding(engine=engine).get_text_embedding("a")
    assert hash_of(**given) == before
    engine.fingerprint = "other weights of the same name"
    assert hash_of(**given) != before


def test_a_pipeline_with_a_docstore_embeds_what_is_new(engine, embedding, red, blue):
    """Seen documents are passed over, also by the asynchronous run."""
    pipeline = IngestionPipeline(
        transformations=[embedding], docstore=SimpleDocumentStore(), vector_store=SimpleVectorStore()
    )
    pages = [ImageDocument(id_="red", image_path=str(red)), ImageDocument(id_="blue", image_path=str(blue))]
    assert [node.node_id for node in pipeline.run(documents=pages[:1])] == ["red"]
    assert [node.node_id for node in asyncio.run(pipeline.arun(documents=pages))] == ["blue"]
    assert engine.n_requests == 2


# The cache of the embedding.


def test_what_was_computed_is_not_computed_again(engine, cached, red):
    """Texts, queries and pictures in any shape come from the store, in order, and are the vectors all the same."""
    plain = JinaVLLMEmbedding(engine=engine)
    expected = [
        *plain.get_text_embedding_batch(["a", "b"]),
        plain.get_query_embedding("a"),
        plain.get_image_embedding(red),
    ]
    before = engine.n_requests

    def vectors():
        return [
            *cached.get_text_embedding_batch(["a", "b"]),
            cached.get_query_embedding("a"),
            cached.get_image_embedding(red),
        ]

    async def again():
        return [
            *await cached.aget_text_embedding_batch(["a", "b"]),
            await cached.aget_query_embedding("a"),
            await cached.aget_image_embedding(io.BytesIO(red.read_bytes())),
        ]

    first = vectors()
    np.testing.assert_allclose(first, expected, **KEPT)
    assert engine.n_requests == before + 4
    assert first == vectors() == asyncio.run(again())
    assert cached([ImageNode(image=in_base64(red.read_bytes()))])[0].embedding == first[3]
    assert engine.n_requests == before + 4


def test_duplicates_are_computed_once(engine, cached, embedding):
    """Equal texts of a batch are one request, with a cache and without, and each gets its vector."""
    for computing in (cached, embedding):
        before = engine.n_requests
        one, other, third, last = computing.get_text_embedding_batch(["a", "b", "a", "c"])
        assert engine.n_requests == before + 3
        assert one == third
        assert len({tuple(vector) for vector in (one, other, last)}) == 3


def test_query_and_passage_do_not_collide(cached, encoder):
    """Trap: LlamaIndex's own cache returns a query's vector for the passage of the same words."""
    passage, query = cached.get_text_embedding("a b c"), cached.get_query_embedding("a b c")
    np.testing.assert_allclose(passage, encoder.embed(["a b c"], role="document")[0], **KEPT)
    np.testing.assert_allclose(query, encoder.embed(["a b c"], role="query")[0], **KEPT)
    assert cached.get_text_embedding("a b c") == passage != query == cached.get_query_embedding("a b c")


def test_models_and_settings_share_a_store_and_no_vector(cached):
    """Trap: two models over one store get each other's vectors from LlamaIndex's own cache."""
    store = cached.embeddings_cache
    MockEmbedding(embed_dim=3, embeddings_cache=store).get_text_embedding("a")
    assert len(cached.get_text_embedding("a")) == 64
    assert len(MockEmbedding(embed_dim=3, embeddings_cache=store).get_query_embedding("a")) == 3
    assert len(cached.model_copy(update={"dimensions": 16}).get_text_embedding("a")) == 16
    code = cached.model_copy(update={"task": "code"}).get_text_embedding("a")
    with FakeEngine(hidden_size=32) as other:
        assert len(JinaVLLMEmbedding(engine=other, embeddings_cache=store).get_text_embedding("a")) == 32
    assert code
    assert len(store.get_all(collection=COLLECTION)) == 4


def test_a_persisted_store_is_as_good(engine, cached, tmp_path):
    """The values are JSON; a damaged one is logged and computed again."""
    vector = cached.get_text_embedding("a")
    path = str(tmp_path / "vectors.json")
    cached.embeddings_cache.persist(path)
    store = SimpleKVStore.from_persist_path(path)
    again = JinaVLLMEmbedding(engine=engine, embeddings_cache=store)
    assert again.get_text_embedding("a") == vector
    assert engine.n_requests == 1
    (key,) = store.get_all(collection=COLLECTION)
    for damaged in ({"record": "no base64"}, {"other": 1}, {"record": "AAAA"}):
        store.put(key, damaged, collection=COLLECTION)
        assert again.get_text_embedding("a") == vector
    assert engine.n_requests == 4


# One engine: copies, pickles, worker processes.


def test_settings_survive_a_dictionary(engine):
    """What is written down makes an equal one, without engine and secrets."""
    embedding = JinaVLLMEmbedding(
        model="jinaai/x",
        task="code",
        dimensions=16,
        image_limits=ImageLimits(private_hosts=frozenset({"b.example", "a.example"})),
        engine_options={"hf_token": "SECRET", "gpu_memory_utilization": 0.5},
    )
    assert "SECRET" not in embedding.to_json() + repr(embedding) + str(embedding.to_payload())
    again = JinaVLLMEmbedding.from_json(embedding.to_json())
    left_out = {"engine_options"}
    assert again.model_dump(exclude=left_out) == embedding.model_dump(exclude=left_out)
    assert (again.model_name, again.image_limits) == ("jinaai/x", embedding.image_limits)
    given = JinaVLLMEmbedding(engine=engine, dimensions=16)
    assert json.loads(given.to_json())["model_name"] == "fake"
    with pytest.raises(ValidationError, match="one of engine and model must be given"):
        JinaVLLMEmbedding.from_dict(given.to_dict())
    assert len(JinaVLLMEmbedding.from_dict(given.to_dict(), engine=engine).get_text_embedding("a")) == 16


def test_engine_options_that_change_vectors_are_not_forgotten():
    """A dictionary tells that there were some, not their values, and asks for them."""
    options = {"quantization": "fp8"}
    data = JinaVLLMEmbedding(model="jinaai/x", engine_options=options).to_dict()
    assert "fp8" not in str(data)
    with pytest.raises(OptionError, match="which had quantization that change vectors"):
        JinaVLLMEmbedding.from_dict(data)
    assert JinaVLLMEmbedding.from_dict(data, engine_options=options).engine_options == options


def test_copies_share_the_engine_and_are_checked(embedding, engine):
    """A copy with other settings has them; a deep one copies no engine."""
    for copied in (copy.copy(embedding), copy.deepcopy(embedding), embedding.model_copy()):
        assert copied.engine is engine
        assert copied.get_text_embedding("a") == embedding.get_text_embedding("a")
    assert len(embedding.model_copy(update={"dimensions": 16}).get_text_embedding("a")) == 16
    with pytest.raises(ValidationError, match="'text-matching'"):
        embedding.model_copy(update={"task": "other"})


def test_pickling_starts_nothing(embedding, engine, cached):
    """Trap: LlamaIndex's unpickling builds a model again. Here settings travel, and what cannot is refused."""
    travelled = pickle.loads(pickle.dumps(JinaVLLMEmbedding(model="no such model", dimensions=16)))  # noqa: S301
    assert (travelled.model, travelled.dimensions) == ("no such model", 16)
    assert travelled._encoder._encoder is None
    travelled.callback_manager = CallbackManager([])
    travelled.rate_limiter = threading.Lock()
    assert pickle.loads(pickle.dumps(travelled)).rate_limiter is None  # noqa: S301
    with pytest.raises(CheckpointError):
        travelled.get_text_embedding("a")
    for kept in (embedding, cached):
        with pytest.raises(OptionError, match=r"must be made without what cannot leave its process, got .*engine"):
            pickle.dumps(kept)


def test_a_worker_process_starts_no_engine(monkeypatch):
    """What was unpickled in one refuses; what is made there on purpose does not."""
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    travelled = pickle.loads(pickle.dumps(JinaVLLMEmbedding(model="no such model")))  # noqa: S301
    calls = [
        lambda: travelled.get_text_embedding("a"),
        lambda: travelled([TextNode(text="a")]),
        lambda: asyncio.run(travelled.aget_image_embedding("a.png")),
        travelled.encoder,
    ]
    for call in calls:
        with pytest.raises(EngineStartError, match=r"in 'MainProcess'.*Run an IngestionPipeline without num_workers"):
            call()
    with pytest.raises(CheckpointError, match="no such model"):
        travelled.model_copy().get_text_embedding("a")


def test_a_pipeline_with_workers_is_refused(embedding):
    """A pipeline's worker processes get either no embedding, or one that says why it does not start a vLLM."""
    nodes = [TextNode(text="a"), TextNode(text="b")]
    lazy = IngestionPipeline(transformations=[JinaVLLMEmbedding(model="no such model")])
    with pytest.raises(EngineStartError, match="each worker would load the model into the same GPU"):
        lazy.run(nodes=nodes, num_workers=2)
    with pytest.raises(OptionError, match="cannot leave its process, got engine"):
        asyncio.run(IngestionPipeline(transformations=[embedding]).arun(nodes=nodes, num_workers=2))


def test_closing_leaves_the_callers_engine_open(engine):
    """A closed one refuses; the engine goes on."""
    with JinaVLLMEmbedding(engine=engine) as embedding:
        embedding.get_text_embedding("a")
    with pytest.raises(EngineClosedError):
        embedding.get_text_embedding("a")
    assert JinaVLLMEmbedding(engine=engine).get_text_embedding("a")


# The event loop.


def test_many_callers_share_a_batch(red):
    """Calls that wait for each other all arrive: none is one by one, and none holds the loop."""

    async def calls(embedding):
        queries = [embedding.aget_query_embedding(f"Frage {number}") for number in range(46)]
        others = [
            embedding.aget_text_embedding_batch(["a", "b"]),
            embedding.aget_image_embedding_batch([red]),
            embedding.acall([TextNode(text="a")]),
        ]
        return await asyncio.gather(*queries, *others)

    with GatheringEngine(50) as engine:
        assert len(asyncio.run(calls(JinaVLLMEmbedding(engine=engine)))) == 49


@pytest.mark.parametrize("store", [None, SimpleKVStore()])
def test_the_event_loop_is_not_blocked(monkeypatch, tmp_path, store):
    """Trap: LlamaIndex's defaults compute on the loop. It goes on while models load, images decode and texts wait."""
    main = threading.main_thread()
    seen = []

    def noting(function):
        def noted(*args, **kwargs):
            seen.append(threading.current_thread())
            time.sleep(0.002)
            return function(*args, **kwargs)

        return noted

    monkeypatch.setattr(
        "jina_vllm_integrations.adapters.lazy_encoder.LazyEncoder._own_engine", noting(lambda _lazy: FakeEngine())
    )
    monkeypatch.setattr("jina_vllm_integrations.images.inspect", noting(jina_vllm_integrations.images.inspect))
    pages = [saved(tmp_path / f"{number}.png", (number, 0, 0)) for number in range(20)]
    embedding = JinaVLLMEmbedding(model="somewhere", embeddings_cache=store)
    asyncio.run(embedding.acall([*(ImageNode(image_path=str(page)) for page in pages), TextNode(text="a")]))
    asyncio.run(embedding.aget_image_embedding_batch(pages))
    assert len(seen) > 20
    assert main not in seen


def test_cancelling_stops_the_work():
    """What is no longer waited for is cancelled, in all batches."""

    async def cancelled(embedding):
        task = asyncio.create_task(embedding.aget_text_embedding_batch([f"Text {number}" for number in range(20)]))
        await until(lambda: len(engine.answers) >= 10)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: all(answer.cancelled() for answer in engine.answers))

    with SilentEngine() as engine:
        asyncio.run(asyncio.wait_for(cancelled(JinaVLLMEmbedding(engine=engine, embed_batch_size=5)), 5))
        assert len(engine.answers) == 10


def test_num_workers_bound_the_batches_at_once():
    """As many batches of a call are under way as was chosen."""

    async def started(embedding, n_requests):
        task = asyncio.create_task(embedding.aget_text_embedding_batch([f"Text {number}" for number in range(20)]))
        await until(lambda: len(engine.answers) >= n_requests)
        await asyncio.sleep(0.05)
        task.cancel()
        return len(engine.answers)

    for n_workers in (1, 3):
        with SilentEngine() as engine:
            embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=4, num_workers=n_workers)
            assert asyncio.run(started(embedding, 4 * n_workers)) == 4 * n_workers


# Events, spans, progress, rate limits.


class Events(BaseEventHandler):
    """Keeps what it hears."""

    heard: list

    @classmethod
    def class_name(cls):
        """Return the handler's name."""
        return "Events"

    def handle(self, event, **_):
        """Keep."""
        self.heard.append(event)


@pytest.fixture
def observed():
    """Return what hears LlamaIndex's events and what its spans, for one test."""
    events, spans = Events(heard=[]), SimpleSpanHandler()
    root = get_dispatcher()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events.heard, spans
    root.event_handlers.remove(events)
    root.span_handlers.remove(spans)


CALLS = {
    "text": (lambda e, _: e.get_text_embedding("a"), ["a"]),
    "query": (lambda e, _: e.get_query_embedding("a"), ["a"]),
    "texts": (lambda e, _: e.get_text_embedding_batch(["a", "b"]), ["a", "b"]),
    "image": (lambda e, red: e.get_image_embedding(str(red)), [None]),
    "images": (lambda e, red: e.get_image_embedding_batch([str(red), red]), [None, None]),
    "nodes": (lambda e, red: e([TextNode(text="a"), ImageNode(image_path=str(red))]), ["a", None]),
    "queries": (lambda e, _: e.get_agg_embedding_from_queries(["a", "b"]), ["a", "b"]),
    "text, async": (lambda e, _: asyncio.run(e.aget_text_embedding("a")), ["a"]),
    "query, async": (lambda e, _: asyncio.run(e.aget_query_embedding("a")), ["a"]),
    "texts, async": (lambda e, _: asyncio.run(e.aget_text_embedding_batch(["a", "b"])), ["a", "b"]),
    "image, async": (lambda e, red: asyncio.run(e.aget_image_embedding(str(red))), [None]),
    "images, async": (lambda e, red: asyncio.run(e.aget_image_embedding_batch([str(red), red])), [None, None]),
    "nodes, async": (lambda e, red: asyncio.run(e.acall([TextNode(text="a"), ImageNode(image_path=str(red))])), ["a", None]),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize(("call", "chunks"), CALLS.values(), ids=CALLS)
def test_texts_and_images_are_reported_alike(engine, red, observed, call, chunks):
    """Each call is one span with one start and one end, and one callback; an image is its path there."""
    events, spans = observed
    debug = LlamaDebugHandler(print_trace_on_end=False)
    embedding = JinaVLLMEmbedding(engine=engine, callback_manager=CallbackManager([debug]))
    call(embedding, red)
    chunks = [str(red) if chunk is None else chunk for chunk in chunks]
    (start, end) = [event for event in events if isinstance(event, EmbeddingStartEvent | EmbeddingEndEvent)]
    assert start.model_dict == {"class_name": "JinaVLLMEmbedding", "model_name": "fake", "embed_batch_size": 1024}
    assert end.chunks == chunks
    assert len(end.embeddings) == len(chunks)
    (span,) = spans.completed_spans
    assert span.id_.startswith("JinaVLLMEmbedding.")
    assert start.span_id == end.span_id == span.id_
    assert not spans.open_spans
    ((began, ended),) = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert began.payload[EventPayload.SERIALIZED] == start.model_dict
    assert ended.payload[EventPayload.CHUNKS] == chunks
    assert ended.payload[EventPayload.EMBEDDINGS] == end.embeddings


def test_batches_are_reported_one_by_one(engine, observed):
    """Each batch has its start and end, and a failing one drops its span."""
    events, spans = observed
    embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=2)
    asyncio.run(embedding.aget_text_embedding_batch(["a", "b", "c"]))
    assert sorted(event.chunks for event in events if isinstance(event, EmbeddingEndEvent)) == [["a", "b"], ["c"]]
    assert sum(isinstance(event, EmbeddingStartEvent) for event in events) == 2
    with pytest.raises(EmptyTextError):
        embedding.get_text_embedding_batch([""])
    assert len(spans.dropped_spans) == 1
    assert not spans.open_spans


def test_an_images_label_holds_no_bytes_and_no_secrets(red):
    """What traces are told is short: a path, an address or a digest."""
    content = red.read_bytes()
    digest = label(ImageInput(content))
    assert digest.startswith("image:")
    assert len(digest) == 22
    assert label(ImageInput(io.BytesIO(content))) == digest
    assert label(ImageInput(data_uri(red.read_bytes()))).startswith("image:")
    assert label(ImageInput("https://user:pass@example.com/a.png?key=secret")) == "https://example.com/a.png"
    assert label(ImageInput(Image.new("RGB", (60, 40)))) == "image:60x40 pixels"
    assert label(ImageInput(red)) == label(ImageInput(str(red))) == str(red)
    with red.open("rb") as file:
        assert label(ImageInput(file)) == f"image:{red}"


def test_progress_is_shown_when_asked_for(embedding, red, capsys):
    """Texts, images and nodes count alike."""
    embedding.get_text_embedding_batch(["a", "b"])
    assert "Generating" not in capsys.readouterr().err
    embedding.get_text_embedding_batch(["a", "b"], show_progress=True)
    assert "Generating embeddings: 100%" in capsys.readouterr().err
    asyncio.run(embedding.aget_image_embedding_batch([red], show_progress=True))
    assert "Generating embeddings: 100%" in capsys.readouterr().err
    embedding([TextNode(text="a")], show_progress=True, other=1)
    assert "Generating embeddings: 100%" in capsys.readouterr().err


def test_the_rate_limit_is_asked_once_a_batch(engine, red):
    """Texts, images and nodes keep to it, also asynchronously."""
    limiter = Limiter()
    embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=2, rate_limiter=limiter)
    embedding.get_text_embedding_batch(["a", "b", "c"])
    embedding.get_query_embedding("a")
    embedding.get_image_embedding_batch([red])
    assert limiter.n_acquired == 4
    asyncio.run(embedding.aget_text_embedding_batch(["a", "b", "c"]))
    asyncio.run(embedding.acall([ImageNode(image_path=str(red))]))
    assert limiter.n_acquired == 7


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


def test_vllm_through_a_pipeline_and_many_searches(make_vllm_engine, tmp_path):
    """Pages of an asynchronous pipeline are indexed and searched many at a time, in one running loop."""
    pages = [
        ImageNode(image_path=str(saved(tmp_path / f"{number}.png", (25 * number, 0, 255 - 25 * number))))
        for number in range(8)
    ]

    async def searched(embedding):
        index = VectorStoreIndex([], embed_model=embedding)
        await index.ainsert_nodes(await IngestionPipeline(transformations=[embedding]).arun(nodes=pages))
        retriever = index.as_retriever(similarity_top_k=1)
        found = await asyncio.gather(*(retriever.aretrieve(f"Seite {number}") for number in range(20)))
        return found, await asyncio.gather(*(embedding.aget_image_embedding(page) for page in pages))

    with make_vllm_engine() as engine:
        found, vectors = asyncio.run(searched(JinaVLLMEmbedding(engine=engine)))
    assert [len(nodes) for nodes in found] == [1] * 20
    np.testing.assert_allclose(vectors, [page.embedding for page in pages], **SAME)
