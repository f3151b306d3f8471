"""Nodes that stand for something else: another retriever, a query engine."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import IndexNode, TextNode

from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_a_node_stands_for_is_found_and_ranked(engine, token_store, asynchronous):
    """As by LlamaIndex's own retriever, but in the order of late interaction."""
    embedding = JinaVLLMEmbedding(engine=engine)
    texts = ["a blue square", "the red circle is here"]
    parts = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=embedding)
    index = VectorStoreIndex(
        [TextNode(text="nothing of the kind")],
        objects=[IndexNode(text="pictures", index_id="pictures", obj=parts.as_retriever())],
        embed_model=embedding,
    )
    retriever = JinaVLLMMultiVectorRetriever(index=index, embedding=embedding, token_store=token_store)
    query = "where is the red circle"
    found = asyncio.run(retriever.aretrieve(query)) if asynchronous else retriever.retrieve(query)
    assert {each.text for each in found} == {*texts, "nothing of the kind"}
    assert found[0].text == texts[1]
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
