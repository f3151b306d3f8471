"""What cannot be copied is shared, by whatever holds it."""

from __future__ import annotations

import copy

import pytest
from langchain_core.documents import Document
from llama_index.core import VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from jina_vllm_integrations import InProcessEngine, LateInteractionReranker
from jina_vllm_integrations.langchain import (
    JinaVLLMByteStore,
    JinaVLLMEmbeddings,
    JinaVLLMRerank,
    JinaVLLMRetriever,
)
from jina_vllm_integrations.langchain import create_page_search_tool as langchain_tool
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever
from jina_vllm_integrations.llama_index import create_page_search_tool as llama_index_tool
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import in_memory

COPIES = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])


@pytest.fixture
def index(encoder):
    """Return an index in Qdrant."""
    with QdrantIndex(encoder, "pages", path=":memory:") as index:
        yield index


@COPIES
def test_it_is_itself(copied, engine, encoder, token_store, index, tmp_path):
    """Also inside of what Python copies."""
    with JinaVLLMByteStore(tmp_path / "bytes") as byte_store, InProcessEngine("a model", render_processes=0) as own:
        for thing in (engine, own, encoder, token_store, index, byte_store):
            assert copied(thing) is thing
            assert copy.deepcopy({"held": [thing]})["held"][0] is thing


@COPIES
def test_who_ranks_is_copied(copied, encoder, token_store, engine):
    """And ranks as before."""
    texts = ["the red circle", "a blue square"]
    reranker = LateInteractionReranker(encoder, token_store)
    assert [each.index for each in copied(reranker).rerank("a blue square", texts)] == [1, 0]
    cross_encoder = JinaVLLMRerank(engine=engine, store=token_store).cross_encoder()
    pairs = [("red", text) for text in texts]
    assert copied(cross_encoder).score(pairs) == cross_encoder.score(pairs)


@COPIES
def test_langchains_retrievers_and_tools_are_copied(copied, engine, token_store, index):
    """Over either kind of store, and find what was added to the first."""
    embeddings = JinaVLLMEmbeddings(engine=engine)
    for retriever in (
        JinaVLLMRetriever(vectorstore=in_memory(embeddings), token_store=token_store),
        JinaVLLMRetriever(index=index),
    ):
        other, tool = copied(retriever), copied(langchain_tool(retriever))
        retriever.add_documents([Document("the red circle")])
        assert [found.page_content for found in other.invoke("red")] == ["the red circle"]
        assert "the red circle" in tool.invoke({"query": "red"})[0]["text"]


@COPIES
def test_llama_indexs_retrievers_engines_and_tools_are_copied(copied, engine, token_store, index):
    """Over either kind of index, and find what was inserted into the first."""
    embedding = JinaVLLMEmbedding(engine=engine)
    first = VectorStoreIndex([], embed_model=embedding)
    for retriever in (
        JinaVLLMMultiVectorRetriever(index=first, embedding=embedding, token_store=token_store),
        JinaVLLMMultiVectorRetriever(qdrant=index),
    ):
        query_engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
        other, tool, asked = copied(retriever), copied(llama_index_tool(retriever)), copied(query_engine)
        retriever.insert_nodes([TextNode(text="the red circle")])
        assert [found.node.get_content() for found in other.retrieve("red")] == ["the red circle"]
        assert "the red circle" in tool.call(query="red").content
        assert len(asked.retrieve("red")) == 1


def test_a_deep_copy_has_its_own_settings(tenant_filters, engine):
    """What a copy is told, the first does not hear."""
    embedding = JinaVLLMEmbedding(engine=engine)
    retriever = JinaVLLMMultiVectorRetriever(
        index=VectorStoreIndex([], embed_model=embedding), embedding=embedding, filters=tenant_filters
    )
    other = copy.deepcopy(retriever)
    other.similarity_top_k = 9
    other.filters.filters.clear()
    assert retriever.similarity_top_k == 4
    assert len(retriever.filters.filters) == 1


@pytest.fixture
def tenant_filters():
    """Return filters by metadata."""
    return MetadataFilters(filters=[MetadataFilter(key="tenant", value="a")])
