"""Pages whose token vectors are stored, which LlamaIndex's retriever ranks without their files."""

from __future__ import annotations

import asyncio
from functools import partial

import chromadb
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import ImageNode, MetadataMode, TextNode
from llama_index.vector_stores.chroma import ChromaVectorStore

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever, JinaVLLMRerank
from pictures import scans_of

QUERY = "where is the red circle"
COLOURS = ("red", "green", "blue")


@pytest.fixture
def scans(tmp_path):
    """Return a folder with a page of each colour."""
    return scans_of(tmp_path, COLOURS)


@pytest.fixture(params=["simple", "chroma"])
def make(request, engine, token_store, scans, tmp_path):
    """Return a maker of retrievers over one and the same index."""
    embedding = JinaVLLMEmbedding(engine=engine)
    context = None
    if request.param == "chroma":
        collection = chromadb.EphemeralClient().get_or_create_collection(f"stored-{tmp_path.name}"[:60])
        context = StorageContext.from_defaults(vector_store=ChromaVectorStore(chroma_collection=collection))
    index = VectorStoreIndex([], embed_model=embedding, storage_context=context)
    return partial(
        JinaVLLMMultiVectorRetriever,
        index=index,
        embedding=embedding,
        token_store=token_store,
        allowed_image_roots=[scans],
    )


@pytest.fixture(params=["sync", "async"])
def retrieve(request):
    """Return what asks a retriever, in both ways."""
    if request.param == "sync":
        return lambda retriever: retriever.retrieve(QUERY)
    return lambda retriever: asyncio.run(retriever.aretrieve(QUERY))


def fill(retriever, scans):
    """Insert the pages, which hold or name their images."""
    held = [ImageNode(id_=name, image_path=str(scans / f"{name}.png"), metadata={"a": 1}) for name in COLOURS[:2]]
    named = TextNode(id_="blue", text="a page", metadata={"image_uri": str(scans / "blue.png")})
    retriever.insert_nodes([*held, named])


def plain(found):
    """Return ids, scores, metadata and what is hidden of it."""
    return [(each.node_id, each.score, each.node.metadata, each.node.excluded_embed_metadata_keys) for each in found]


def test_stored_pages_need_no_files(make, scans, engine, retrieve):
    """Neither to be ranked nor to have the same scores; and they come back as they were given."""
    retriever = make()
    fill(retriever, scans)
    before = retrieve(retriever)
    engine.batches.clear()
    for colour in COLOURS:
        (scans / f"{colour}.png").unlink()
    assert plain(retrieve(retriever)) == plain(before)
    assert engine.batches == [1]
    assert {each.node_id: each.node.metadata for each in before} == {
        "red": {"a": 1},
        "green": {"a": 1},
        "blue": {"image_uri": str(scans / "blue.png")},
    }
    assert all("jina_vllm" not in each.node.get_content(MetadataMode.ALL) for each in before)


def test_a_note_leads_to_no_other_vectors(make, scans, retrieve, tmp_path):
    """By another way of keeping, or where the file must not be read, the note is passed over."""
    retriever = make()
    fill(retriever, scans)
    (scans / "red.png").unlink()
    with TokenStore(tmp_path / "other", dtype="int8") as store:
        assert sorted(each.node_id for each in retrieve(make(token_store=store))) == ["blue", "green"]
    assert retrieve(make(allowed_image_roots=[])) == []


def test_a_reranker_needs_no_files_either(make, scans, engine, token_store):
    """Where it has the token store, and the index finds by itself; what is noted is no part of a text."""
    fill(make(), scans)
    found = VectorIndexRetriever(make.keywords["index"], similarity_top_k=3).retrieve(QUERY)
    assert all("jina_vllm" not in each.node.get_content(MetadataMode.EMBED) for each in found)
    (scans / "red.png").unlink()
    reranker = JinaVLLMRerank(engine=engine, store=token_store, allowed_image_roots=[scans])
    assert len(reranker.postprocess_nodes(found, query_str=QUERY)) == 3
    assert len(reranker.model_copy(update={"store": None}).postprocess_nodes(found, query_str=QUERY)) == 2
