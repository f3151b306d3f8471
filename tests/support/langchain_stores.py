"""LangChain's vector stores, and what is searched for in them."""

from __future__ import annotations

import asyncio
from itertools import count

from langchain_chroma import Chroma
from langchain_community.docstore.in_memory import InMemoryDocstore
from langchain_community.vectorstores import FAISS  # of LangChain's, the only one with FAISS
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

TEXTS = ["ein blaues Quadrat", "the red circle is here", "nothing of the kind", "noch ein Satz"]
QUERY = "where is the red circle"
COLOURS = ("red", "green", "blue", "white")
DIMENSIONS = 64  # the fake engine's
collections = count()


def in_memory(embeddings):
    """Return LangChain's own."""
    return InMemoryVectorStore(embeddings)


def chroma(embeddings):
    """Return an embedded Chroma."""
    return Chroma(f"pages-{next(collections)}", embeddings, collection_configuration={"hnsw": {"space": "cosine"}})


def faiss_store(embeddings):
    """Return a FAISS index."""
    import faiss

    return FAISS(embeddings, faiss.IndexFlatIP(DIMENSIONS), InMemoryDocstore(), {})


def qdrant(embeddings):
    """Return an embedded Qdrant by LangChain's own integration."""
    client = QdrantClient(":memory:")
    client.create_collection("pages", models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE))
    return QdrantVectorStore(client, "pages", embeddings)


STORES = [in_memory, chroma, faiss_store, qdrant]


def documents(texts=TEXTS):
    """Return documents with ids and metadata."""
    return [
        Document(text, id=f"00000000-0000-0000-0000-{index:012}", metadata={"place": index})
        for index, text in enumerate(texts)
    ]


def page(path, **metadata):
    """Return a page as a loader makes it: another document where the picture is another."""
    return Document(f"[{path.name}]", metadata={"image_uri": str(path), "size": path.stat().st_size, **metadata})


async def sent(engine, number):
    """Wait until an engine was given so many requests."""
    loop, enough = asyncio.get_running_loop(), asyncio.Event()

    def note():
        if sum(engine.batches) >= number:
            loop.call_soon_threadsafe(enough.set)

    engine.submitted = note
    note()
    await asyncio.wait_for(enough.wait(), 30)


def names(found):
    """Return the names of the pages that were found, or their texts."""
    return [document.page_content for document in found]
