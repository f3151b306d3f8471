"""LlamaIndex's stores that others wrote, a row each."""

from __future__ import annotations

import chromadb
import faiss
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, SimpleVectorStore
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.faiss import FaissMapVectorStore, FaissVectorStore
from llama_index.vector_stores.lancedb import LanceDBVectorStore
from llama_index.vector_stores.milvus import MilvusVectorStore
from llama_index.vector_stores.postgres import PGVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from jina_vllm_integrations import StoreError
from other_stores import DIMENSIONS, Cannot, Other, numbers


def simple(place):
    """Return LlamaIndex's own."""
    return SimpleVectorStore()


def chroma(place):
    """Return a collection of an embedded Chroma."""
    return _in_chroma(chromadb.EphemeralClient())


def chroma_on_server(place):
    """Return a collection of a Chroma server."""
    client = chromadb.HttpClient("127.0.0.1", place.server)
    place.closing.callback(client.close)
    return _in_chroma(client)


def _in_chroma(client):
    return ChromaVectorStore(chroma_collection=client.create_collection(f"nodes-{next(numbers)}"))


def postgres(place):
    """Return a table of PostgreSQL's."""
    store = PGVectorStore(
        connection_string=f"postgresql+psycopg2://postgres@/postgres?host={place.server}",
        async_connection_string=f"postgresql+asyncpg://postgres@/postgres?host={place.server}",
        table_name=f"nodes_{next(numbers)}",
        schema_name="public",
        embed_dim=DIMENSIONS,
    )
    place.closing.callback(lambda: place.runner.run(store.close()))
    return store


def milvus(place):
    """Return a collection in a file of Milvus Lite's."""
    store = MilvusVectorStore(
        uri=str(place.folder / f"milvus-{next(numbers)}.db"), dim=DIMENSIONS, similarity_metric="COSINE"
    )
    place.closing.callback(store.client.close)
    return store


def lancedb(place):
    """Return a table of LanceDB's."""
    return LanceDBVectorStore(uri=str(place.folder / f"lance-{next(numbers)}"))


def qdrant(place):
    """Return a collection of an embedded Qdrant, whose two clients do not see each other's."""
    if place.way == "sync":
        return QdrantVectorStore("nodes", client=QdrantClient(":memory:"))
    return QdrantVectorStore("nodes", aclient=AsyncQdrantClient(":memory:"))


def faiss_store(place):
    """Return a FAISS index."""
    return FaissVectorStore(faiss.IndexFlatIP(DIMENSIONS))


def faiss_map(place):
    """Return a FAISS index that deletes."""
    return FaissMapVectorStore(faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSIONS)))


ONLY = {"filters": MetadataFilters(filters=[MetadataFilter(key="place", value=2)])}
# A pipeline writes into the store alone, and these keep vectors, not nodes.
NO_NODES = Cannot(error=KeyError, telling=r"^'[\w-]+'$")  # the id
NO_NODES_THERE = dict.fromkeys(("unchanged", "changed", "removed"), NO_NODES)
NO_NODES_IN_FAISS = {
    **NO_NODES_THERE,
    "filter": Cannot(error=ValueError, telling="Metadata filters not implemented for Faiss"),
    "get": Cannot(error=NotImplementedError, telling="get_nodes not implemented"),
}
NO_QUOTES = Cannot(error=ValueError, telling="No field named")  # which is the id

ROWS = {
    "simple": Other(
        make=simple,
        only=ONLY,
        cannot={**NO_NODES_THERE, "get": Cannot(error=NotImplementedError, telling="does not store nodes directly")},
    ),
    "chroma": Other(make=chroma, only=ONLY),
    "chroma_on_server": Other(make=chroma_on_server, server="chroma_port", only=ONLY),
    "postgres": Other(make=postgres, server="postgres", only=ONLY),
    "milvus": Other(make=milvus, only=ONLY),
    "lancedb": Other(make=lancedb, only=ONLY, cannot=dict.fromkeys(("changed", "removed", "get"), NO_QUOTES)),
    "qdrant": Other(make=qdrant, only=ONLY),
    "faiss": Other(
        make=faiss_store,
        only=ONLY,
        cannot={
            **NO_NODES_IN_FAISS,
            "delete": Cannot(error=NotImplementedError, telling="delete_nodes not implemented"),
            "replace": Cannot(error=StoreError, telling="must be replaced, and FaissVectorStore cannot delete"),
        },
    ),
    "faiss_map": Other(make=faiss_map, only=ONLY, cannot=NO_NODES_IN_FAISS),
}
