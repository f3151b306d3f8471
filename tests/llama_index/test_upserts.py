"""Pages that are nodes as they are, without a node parser: changed and removed ones, in LlamaIndex's stores."""

from __future__ import annotations

import asyncio

import faiss
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.schema import NodeRelationship, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery
from llama_index.vector_stores.faiss import FaissMapVectorStore

from jina_vllm_integrations import JinaEncoder, StoreError
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever, PageImageReader
from jina_vllm_integrations.qdrant import QdrantIndex
from llama_index_stores import STORES, chroma_store, lancedb_store, over, qdrant_store, simple_store
from pictures import saved

pytestmark = pytest.mark.filterwarnings(
    r"ignore:table_names\(\) is deprecated:DeprecationWarning",  # of LanceDB, which LlamaIndex calls
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning",  # which LlamaIndex makes
)

RED, GREEN, BLUE = "red", "green", "blue"


@pytest.fixture
def embedding(engine):
    """Return an embedding over a fake engine."""
    return JinaVLLMEmbedding(engine=engine)


@pytest.fixture
def pages(tmp_path):
    """Return what paints pages into a folder, which has no others then, and reads them."""
    folder = tmp_path / "pages"
    folder.mkdir()

    def pages(**colours):
        for path in folder.iterdir():
            path.unlink()
        for name, colour in colours.items():
            saved(folder / f"{name}.png", colour)
        return PageImageReader().load_data(folder)

    return pages


@pytest.fixture
def make(embedding, engine, token_store, tmp_path):
    """Return a maker of retrievers over a kind of store, or over a `QdrantIndex`."""

    def make(store):
        if store is QdrantIndex:
            index = QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:")
            return JinaVLLMMultiVectorRetriever(qdrant=index, similarity_top_k=9)
        return JinaVLLMMultiVectorRetriever(
            index=over(store(tmp_path), embedding),
            embedding=embedding,
            token_store=token_store,
            similarity_top_k=9,
            allowed_image_roots=(tmp_path,),
        )

    return make


def skip_what_qdrant_cannot(request, store):
    """Skip an embedded Qdrant of LlamaIndex's in an event loop."""
    if store is qdrant_store and request.node.callspec.params["call"] == "async":
        pytest.skip("LlamaIndex's store wants a second client for that, and two cannot share an embedded Qdrant")


def kept(store, embedding):
    """Return the vectors that a store has, by the ids of their nodes."""
    found = store.query(VectorStoreQuery(query_embedding=embedding.get_query_embedding("a"), similarity_top_k=99))
    return sorted(found.ids)


def run(pipeline, way, documents):
    """Run a pipeline."""
    if way == "sync":
        return pipeline.run(documents=documents)
    return asyncio.run(pipeline.arun(documents=documents))


# LanceDB's integration of LlamaIndex's deletes by a filter that LanceDB refuses.
@pytest.mark.parametrize("store", [simple_store, chroma_store, qdrant_store], ids=lambda store: store.__name__)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_pipeline_replaces_changed_pages_and_deletes_removed_ones(embedding, pages, tmp_path, store, way):
    """Trap: without a source, a node is not what a pipeline deletes."""
    if store is qdrant_store and way == "async":
        pytest.skip("LlamaIndex's store wants a second client for that, and two cannot share an embedded Qdrant")
    vector_store = store(tmp_path)
    pipeline = IngestionPipeline(
        transformations=[embedding],
        vector_store=vector_store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    first = run(pipeline, way, pages(one=RED, two=GREEN, three=BLUE))
    assert len(first) == len(kept(vector_store, embedding)) == 3
    coming = pages(one="white", two=GREEN)
    (changed,) = run(pipeline, way, coming)
    assert kept(vector_store, embedding) == sorted(page.node_id for page in coming)
    found = vector_store.query(VectorStoreQuery(query_embedding=changed.embedding, similarity_top_k=1))
    assert found.ids == [changed.node_id]
    assert found.similarities[0] == pytest.approx(1, abs=1e-3)
    assert run(pipeline, way, pages(one="white", two=GREEN)) == []


def test_nodes_of_a_document_keep_their_source(embedding):
    """What a node parser has set stays, and the caller's nodes are not changed but for their vectors."""
    alone, part = TextNode(text="a"), TextNode(text="b")
    part.relationships[NodeRelationship.SOURCE] = TextNode(text="all", id_="all").as_related_node_info()
    embedded = embedding([alone, part])
    assert [node.ref_doc_id for node in embedded] == [alone.node_id, "all"]
    assert (alone.ref_doc_id, embedded[0].embedding) == (None, alone.embedding)
    assert embedded[1] is part


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_index_of_documents_embeds_their_images_where_the_embedding_is_a_transformation(
    embedding, engine, pages, way
):
    """And refreshes what has changed, by the document's id."""
    coming = pages(one=RED, two=GREEN)
    index = VectorStoreIndex.from_documents(coming, transformations=[embedding], embed_model=embedding)
    assert engine.n_requests == 2
    changed = pages(one="white", two=GREEN)
    refreshed = index.refresh_ref_docs(changed) if way == "sync" else asyncio.run(index.arefresh_ref_docs(changed))
    assert sorted(refreshed) == [False, True]
    expected = {page.node_id: embedding.get_image_embedding(page) for page in changed}
    assert index.vector_store.data.embedding_dict == {
        name: pytest.approx(vector, abs=1e-5) for name, vector in expected.items()
    }


@pytest.mark.parametrize("store", [*STORES, QdrantIndex], ids=lambda store: store.__name__)
def test_inserting_a_node_again_replaces_it(request, make, store, call, caplog):
    """In each store, and of two with one id in one call the last stays; other nodes stay as they are."""
    skip_what_qdrant_cannot(request, store)
    retriever = make(store)
    call(retriever, "insert_nodes", nodes("one", "two", "three"))
    call(retriever, "insert_nodes", [*nodes("not this"), *nodes("eins", "zwei")])
    found = call(retriever, "retrieve", "a query")
    assert sorted(each.node.text for each in found) == ["eins", "three", "zwei"]
    assert "may be there twice" not in caplog.text


@pytest.mark.parametrize("store", [simple_store, chroma_store, qdrant_store], ids=lambda store: store.__name__)
def test_an_index_deletes_inserted_pages_as_documents(request, embedding, tmp_path, store, pages, call):
    """By their ids, with the framework's own ``delete_ref_doc``."""
    skip_what_qdrant_cannot(request, store)
    index = over(store(tmp_path), embedding)
    retriever = JinaVLLMMultiVectorRetriever(index=index, embedding=embedding, allowed_image_roots=(tmp_path,))
    one, two = pages(one=RED, two=GREEN)
    call(retriever, "insert_nodes", [one, two])
    call(index, "delete_ref_doc", one.node_id, delete_from_docstore=True)
    assert [each.node.node_id for each in call(retriever, "retrieve", "a query")] == [two.node_id]


def nodes(*texts):
    """Return nodes with ids by their places."""
    return [TextNode(text=text, id_=f"00000000-0000-0000-0000-{place:012}") for place, text in enumerate(texts)]


class Numbers(SimpleVectorStore):
    """A store that numbers its rows and deletes none, as FAISS does."""

    def add(self, nodes, **options):
        """Keep under the next numbers."""
        first = len(self.data.embedding_dict)
        named = [node.model_copy(update={"id_": str(first + place)}) for place, node in enumerate(nodes)]
        return super().add(named, **options)

    def delete_nodes(self, node_ids=None, filters=None, **options):
        """Refuse."""
        raise NotImplementedError


def test_a_store_that_cannot_replace_a_node_says_so(make, call):
    """Before there are two of it; new nodes are taken."""
    retriever = make(lambda folder: Numbers())
    call(retriever, "insert_nodes", nodes("one", "two"))
    call(retriever, "insert_nodes", [TextNode(text="three", id_="new")])
    with pytest.raises(StoreError, match=r"must be replaced, and Numbers cannot delete '0.*-000000000001'"):
        call(retriever, "insert_nodes", nodes("one", "two")[1:])
    assert len(call(retriever, "retrieve", "a query")) == 3


def faiss_map_store(folder):
    """Return a FAISS index that deletes."""
    return FaissMapVectorStore(faiss.IndexIDMap2(faiss.IndexFlatIP(64)))


def test_no_other_node_is_lost_in_a_map_of_faiss(make, call):
    """It numbers new nodes by how many it has: after one was deleted, they would take the place of the last ones."""
    retriever = make(faiss_map_store)
    call(retriever, "insert_nodes", nodes("one", "two", "three"))
    with pytest.raises(StoreError, match=r"FaissMapVectorStore would lose '0.*-000000000002'"):
        call(retriever, "insert_nodes", nodes("eins"))
    call(retriever, "insert_nodes", [*nodes("one", "two", "drei")[2:], TextNode(text="four", id_="new")])
    assert {each.node.text for each in call(retriever, "retrieve", "a query")} == {"one", "two", "drei", "four"}
    call(retriever, "delete_nodes", [nodes("one")[0].node_id])
    with pytest.raises(StoreError, match="FaissMapVectorStore would lose 'new'"):
        call(retriever, "insert_nodes", [TextNode(text="five", id_="newer")])
    assert {each.node.text for each in call(retriever, "retrieve", "a query")} == {"two", "drei", "four"}
    call(retriever, "insert_nodes", [*nodes("eins", "zwei", "three"), TextNode(text="vier", id_="new")])
    assert {each.node.text for each in call(retriever, "retrieve", "a query")} == {"eins", "zwei", "three", "vier"}


class RefusesToDelete(SimpleVectorStore):
    """A store that may be read and written, but not deleted from."""

    def delete_nodes(self, node_ids=None, filters=None, **options):
        """Refuse."""
        raise PermissionError("not allowed")


def test_a_store_that_refuses_to_delete_is_told_of_once(make, call, caplog):
    """What comes is written."""
    retriever = make(lambda folder: RefusesToDelete())
    call(retriever, "insert_nodes", nodes("one", "two"))
    assert caplog.text.count("RefusesToDelete did not delete nodes that are about to be written") == 1
    assert "not allowed" in caplog.text
    assert len(call(retriever, "retrieve", "a query")) == 2


def test_ids_with_quotes_are_replaced_in_lancedb(make, call):
    """They are values there, not SQL."""
    retriever = make(lancedb_store)
    call(retriever, "insert_nodes", [TextNode(text="one", id_="it's"), TextNode(text="two", id_="') OR ('' = '")])
    call(retriever, "insert_nodes", [TextNode(text="zwei", id_="') OR ('' = '")])
    assert sorted(each.node.text for each in call(retriever, "retrieve", "a query")) == ["one", "zwei"]
