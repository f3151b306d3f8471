"""What a first stage of LlamaIndex found."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from jina_vllm_integrations import JinaEncoder, LateInteractionReranker

QUERY = "where is the red circle"
TEXTS = ["ein blaues Quadrat", "rot", "the red circle is here", "nothing of the kind"]


def found(*nodes):
    """Return nodes as a first stage does."""
    return [NodeWithScore(node=node, score=0.5 - index / 10) for index, node in enumerate(nodes)]


def text_nodes(texts=TEXTS):
    """Return nodes with ids and metadata."""
    return found(
        *(
            TextNode(text=text, id_=f"id {index}", metadata={"source": index, "tags": ["a"]})
            for index, text in enumerate(texts)
        )
    )


def both_ways(reranker, nodes, query=QUERY):
    """Yield the synchronous and the asynchronous way to rerank."""
    bundle = QueryBundle(query) if isinstance(query, str) else query
    yield lambda: reranker.postprocess_nodes(nodes, query_bundle=bundle)
    yield lambda: asyncio.run(reranker.apostprocess_nodes(nodes, query_bundle=bundle))


def refused(reranker, node, error):
    """Return the error about a node at position 1, which is the same both ways and comes before any work."""
    reranker = reranker.model_copy(update={"on_found_error": "raise"})
    messages = set()
    for rerank in both_ways(reranker, found(TextNode(text="a text"), node)):
        with pytest.raises(error) as caught:
            rerank()
        assert caught.value.index == 1
        assert caught.value.__notes__ == [f"the node's id is {node.node_id!r}"]
        messages.add(str(caught.value))
    (message,) = messages
    return message


def expected(engine, query, items):
    """Return what late interaction says, as positions and scores."""
    ranked = LateInteractionReranker(JinaEncoder(engine, task="retrieval"), normalize="mean").rerank(query, items)
    return [(each.index, each.score) for each in ranked]
