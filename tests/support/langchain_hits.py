"""What a first stage of LangChain found."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.documents import Document

QUERY = "where is the red circle"
TEXTS = ["ein blaues Quadrat", "rot", "the red circle is here", "nothing of the kind"]


def documents(texts=TEXTS):
    """Return documents with ids and metadata."""
    return [
        Document(text, id=f"id {index}", metadata={"source": index, "tags": ["a"]}) for index, text in enumerate(texts)
    ]


def page(image, text="", **metadata):
    """Return a page's document."""
    return Document(text, metadata={"image_uri": image, **metadata})


def both_ways(reranker, *given):
    """Return the synchronous and the asynchronous way to compress."""
    yield lambda: reranker.compress_documents(*given)
    yield lambda: asyncio.run(reranker.acompress_documents(*given))


def refused(reranker, image, error):
    """Return the error about a page at position 1, which is the same both ways and comes before any work."""
    reranker = reranker.model_copy(update={"on_found_error": "raise"})
    messages = set()
    for compress in both_ways(reranker, [Document("a text"), page(image)], QUERY):
        with pytest.raises(error) as caught:
            compress()
        assert caught.value.index == 1
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith("item 1: ")
    return message
