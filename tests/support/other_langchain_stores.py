"""LangChain's stores that others wrote, a row each."""

from __future__ import annotations

import chromadb
import pysqlite3
import sqlite_vec
from langchain_chroma import Chroma
from langchain_community.vectorstores import LanceDB, SQLiteVec
from langchain_milvus import Milvus
from langchain_postgres import Column, PGEngine, PGVector, PGVectorStore
from pymilvus import connections
from qdrant_client import models

from jina_vllm_integrations import OptionError
from langchain_stores import chroma, faiss_store, in_memory, qdrant
from other_stores import DIMENSIONS, Cannot, Other, numbers


def chroma_on_server(embeddings, place):
    """Return a collection of a Chroma server."""
    client = chromadb.HttpClient("127.0.0.1", place.server)
    place.closing.callback(client.close)
    space = {"hnsw": {"space": "cosine"}}
    return Chroma(f"pages-{next(numbers)}", embeddings, client=client, collection_configuration=space)


def pgvector(embeddings, place):
    """Return LangChain's first store in PostgreSQL, which is either synchronous or asynchronous."""
    store = PGVector(
        embeddings,
        connection=address(place),
        collection_name=f"pages-{next(numbers)}",
        async_mode=place.way == "async",
        create_extension=place.way == "sync",  # two statements, of which its asynchronous engine takes one
    )
    place.closing.callback(_dispose, store, place)
    return store


def pgvector_store(embeddings, place, id_type="TEXT"):
    """Return LangChain's second store in PostgreSQL, a table each."""
    engine = PGEngine.from_connection_string(address(place))
    place.closing.callback(lambda: engine._run_as_sync(engine.close()))
    table = f"pages_{next(numbers)}"
    engine.init_vectorstore_table(table, DIMENSIONS, id_column=Column("langchain_id", id_type))
    return PGVectorStore.create_sync(engine, embeddings, table)


def milvus(embeddings, place, **options):
    """Return a collection in a file of Milvus Lite's."""
    uri = str(place.folder / f"milvus-{next(numbers)}.db")
    exact = {"index_type": "FLAT", "metric_type": "COSINE"}
    options = {"enable_dynamic_field": True, "index_params": exact, **options}
    store = Milvus(embeddings, connection_args={"uri": uri}, **options)
    # langchain-milvus 0.3 looks its client up among connections where pymilvus no longer notes them.
    connections.connect(store.alias, uri=uri)
    place.closing.callback(connections.remove_connection, store.alias)
    place.closing.callback(store.client.close)
    return store


def lancedb(embeddings, place, **options):
    """Return a table of LanceDB's."""
    return LanceDB(uri=str(place.folder / f"lance-{next(numbers)}"), embedding=embeddings, mode="append", **options)


def sqlite(embeddings, place):
    """Return a table of SQLite's, with the extension sqlite-vec."""
    connection = pysqlite3.connect(":memory:", check_same_thread=False)
    place.closing.callback(connection.close)
    connection.row_factory = pysqlite3.Row
    connection.enable_load_extension(True)  # noqa: FBT003 - takes no name
    sqlite_vec.load(connection)
    return SQLiteVec("pages", connection, embeddings)


def address(place):
    """Return where the PostgreSQL is."""
    return f"postgresql+psycopg://postgres@/postgres?host={place.server}"


def _here(make):
    return lambda embeddings, _: make(embeddings)


def _dispose(store, place):
    if place.way == "async":
        place.runner.run(store._async_engine.dispose())
    else:
        store._engine.dispose()


NO_DELETE = Cannot(error=OptionError, telling="the store's delete, SQLiteVec has none")
NO_UUID = Cannot(error=ValueError, telling="is not a valid UUID")
EQUAL = {"filter": {"place": 2}}
IN_QDRANT = models.Filter(must=[models.FieldCondition(key="metadata.place", match=models.MatchValue(value=2))])

ROWS = {
    "in_memory": Other(make=_here(in_memory), only={"filter": lambda document: document.metadata["place"] == 2}),
    "chroma": Other(make=_here(chroma), only=EQUAL),
    "chroma_on_server": Other(make=chroma_on_server, server="chroma_port", only=EQUAL),
    "pgvector": Other(make=pgvector, server="postgres", only=EQUAL),
    "pgvector_store": Other(make=pgvector_store, server="postgres", only=EQUAL),
    "faiss": Other(
        make=_here(faiss_store),
        only=EQUAL,
        cannot={"replace": Cannot(error=ValueError, telling="Tried to add ids that already exist")},
    ),
    "qdrant": Other(
        make=_here(qdrant),
        only={"filter": IN_QDRANT},
        cannot={"unchanged": NO_UUID, "changed": NO_UUID, "removed": NO_UUID},
    ),
    "milvus": Other(
        make=milvus,
        only={"expr": "place == 2"},
        cannot={"get": Cannot(error=OptionError, telling="get_by_ids, Milvus has none")},
    ),
    "lancedb": Other(
        make=lancedb,
        only={"filter": "metadata.place = 2"},
        replaces=False,
        finds_ids=False,
        cannot={"get": Cannot(error=OptionError, telling="get_by_ids, LanceDB has none")},
    ),
    "sqlite": Other(
        make=sqlite,
        only=EQUAL,
        replaces=False,
        finds_ids=False,
        cannot={
            "filter": Cannot(error=OptionError, telling="SQLiteVec reads none and would find all documents"),
            "get": Cannot(error=OptionError, telling="get_by_ids, SQLiteVec has none"),
            "delete": NO_DELETE,
            "changed": NO_DELETE,
            "removed": NO_DELETE,
        },
    ),
}
