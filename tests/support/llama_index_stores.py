"""Vector stores of LlamaIndex's."""

from __future__ import annotations

import chromadb
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.lancedb import LanceDBVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient


def simple_store(folder):
    """Return LlamaIndex's own."""
    return SimpleVectorStore()


def chroma_store(folder):
    """Return an embedded Chroma."""
    collection = chromadb.EphemeralClient().get_or_create_collection(f"pages-{folder.name}"[:60])
    return ChromaVectorStore(chroma_collection=collection)


def lancedb_store(folder):
    """Return an embedded LanceDB."""
    return LanceDBVectorStore(uri=str(folder / "lance"))


def qdrant_store(folder):
    """Return an embedded Qdrant by LlamaIndex's own integration, which wants a second client to be asynchronous."""
    return QdrantVectorStore("pages", client=QdrantClient(":memory:"))


STORES = [simple_store, chroma_store, lancedb_store, qdrant_store]


def over(vector_store, embedding):
    """Return an index over a store."""
    context = StorageContext.from_defaults(vector_store=vector_store)
    return VectorStoreIndex([], storage_context=context, embed_model=embedding)
