"""LlamaIndex's embedding as a transformation: in pipelines and indexes, with the cache of a pipeline."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageDocument, ImageNode, MediaResource, MetadataMode, Node, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore

from jina_vllm_integrations import EmptyTextError, ItemTypeError
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, PageImageReader
from pictures import in_base64, saved

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def blue(tmp_path):
    """Return the path of a blue picture."""
    return saved(tmp_path / "blue.png", "blue")


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
    embedded = run(embedding, nodes)
    assert [(node.node_id, node.embedding) for node in embedded] == [(node.node_id, node.embedding) for node in nodes]
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
