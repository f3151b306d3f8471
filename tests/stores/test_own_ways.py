"""What stores do in their own ways, one by one, as docs/vector-stores.md tells it."""

from __future__ import annotations

from uuid import UUID, uuid4, uuid5

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from pydantic import ValidationError
from sqlalchemy.exc import DataError

from jina_vllm_integrations import ImageInput, OptionError
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from langchain_stores import QUERY, TEXTS, names
from other_langchain_stores import ROWS, milvus, pgvector_store
from other_stores import OTHERS_WARNINGS

pytestmark = OTHERS_WARNINGS

HASHES = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@pytest.fixture
def make(place_for, engine, token_store, scans):
    """Return a maker of retrievers over a new store of a row's."""
    embeddings = JinaVLLMEmbeddings(engine=engine)

    def make(name, store=None, **options):
        row = ROWS[name]
        made = (store or row.make)(embeddings, place_for(row), **options)
        return JinaVLLMRetriever(
            vectorstore=made, embeddings=embeddings, token_store=token_store, allowed_image_roots=(scans,)
        )

    return make


@pytest.fixture
def call(place_for):
    """Return what calls a method, or its asynchronous twin."""
    return place_for(ROWS["in_memory"]).call


@pytest.fixture
def fill(make, call):
    """Return what makes a retriever with documents, and their ids."""

    def fill(name, **options):
        retriever = make(name, **options)
        given = [Document(text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
        return retriever, call(retriever, "add_documents", given)

    return fill


def test_chroma_merges_metadata(make, call):
    """A key that the new document lacks stays."""
    retriever = make("chroma")
    name = str(uuid4())
    for metadata in ({"place": 1, "old": True}, {"place": 2}):
        call(retriever, "add_documents", [Document("a text", id=name, metadata=metadata)])
    (found,) = call(retriever, "get_by_ids", [name])
    assert found.metadata == {"place": 2, "old": True}


def test_chroma_itself_looks_up_no_document_without_metadata(make, call):
    """The retriever over it does, and so deletes it."""
    retriever = make("chroma")
    ids = call(retriever, "add_documents", [Document("a text")])
    with pytest.raises(ValidationError, match="Input should be a valid dictionary"):
        call(retriever.vectorstore, "get_by_ids", ids)
    assert names(call(retriever, "get_by_ids", ids)) == ["a text"]
    assert call(retriever, "delete", ids)["num_deleted"] == 1
    assert call(retriever, "invoke", QUERY) == []


def test_faiss_breaks_over_a_known_id(fill, call):
    """It takes the vector before it looks at the id, and no search that finds this vector works again."""
    retriever, ids = fill("faiss")
    with pytest.raises(ValueError, match="already exist"):
        call(retriever, "add_documents", [Document("the red circle is there", id=ids[0])])
    with pytest.raises(KeyError):
        call(retriever, "invoke", QUERY)


def test_faiss_replaces_what_was_deleted(fill, call):
    """Deleting first is what to do."""
    retriever, ids = fill("faiss")
    call(retriever, "delete", ids[:1])
    call(retriever, "add_documents", [Document("another text", id=ids[0])])
    assert names(call(retriever, "get_by_ids", ids[:1])) == ["another text"]


def test_pgvector_shares_ids_between_collections(make, call):
    """The second collection's document goes into the first, over what was there, without a word."""
    one, two = make("pgvector"), make("pgvector")
    name = str(uuid4())
    call(one, "add_documents", [Document("of the first", id=name)])
    assert call(two, "add_documents", [Document("of the second", id=name)]) == [name]
    assert call(two, "invoke", QUERY) == []
    assert names(call(one, "invoke", QUERY)) == ["of the second"]


def test_pgvector_lets_index_believe_that_a_second_collection_is_filled(make, place_for):
    """Equal documents have equal ids there, unless their metadata differ."""
    place, number = place_for(ROWS["pgvector"]), str(uuid4())

    def found(**metadata):
        retriever, manager = make("pgvector"), InMemoryRecordManager("pages")
        manager.create_schema()
        given = [Document("a text", metadata={"test": number, **metadata})]
        options = {"cleanup": "full", "key_encoder": "sha256"}
        if place.way == "sync":
            report = index(given, manager, retriever, **options)
        else:
            report = place.runner.run(aindex(given, manager, retriever, **options))
        assert report["num_added"] == 1
        return names(place.call(retriever, "invoke", QUERY))

    assert [found(), found(), found(collection="second")] == [["a text"], [], ["a text"]]


def test_pgvector_is_used_in_one_way(make, place_for, way):
    """One that was made for coroutines is for them alone, and the other way round."""
    place, retriever = place_for(ROWS["pgvector"]), make("pgvector")
    if way == "sync":
        with pytest.raises(AssertionError, match="must be called with async_mode"):
            place.runner.run(retriever.ainvoke(QUERY))
    else:
        with pytest.raises(AssertionError, match="must be called without async_mode"):
            retriever.invoke(QUERY)


def test_two_tables_of_pgvector_store_have_ids_of_their_own(make, call):
    """Which is the other store of the same package."""
    one, two = make("pgvector_store"), make("pgvector_store")
    name = str(uuid4())
    call(one, "add_documents", [Document("of the first", id=name)])
    call(two, "add_documents", [Document("of the second", id=name)])
    assert names(call(one, "invoke", QUERY)) == ["of the first"]
    assert names(call(two, "invoke", QUERY)) == ["of the second"]


def test_pgvector_stores_ids_are_uuids_unless_it_is_told(make, call):
    """Its column is of that type by default; as text it takes any."""
    retriever = make("pgvector_store", store=pgvector_store, id_type="UUID")
    with pytest.raises(DataError, match=r"invalid input (syntax for type uuid|for query argument)"):
        call(retriever, "add_documents", [Document("a text", id="my id")])
    assert call(make("pgvector_store"), "add_documents", [Document("a text", id="my id")]) == ["my id"]


@pytest.mark.parametrize("name", ["qdrant", "pgvector_store"])
def test_index_makes_uuids(make, name):
    """By a key encoder of one's own, for stores that want them."""
    retriever = make("qdrant") if name == "qdrant" else make(name, store=pgvector_store, id_type="UUID")
    manager = InMemoryRecordManager("pages")
    manager.create_schema()

    def key(document):
        return str(uuid5(HASHES, document.page_content))

    report = index([Document(text) for text in TEXTS], manager, retriever, cleanup="full", key_encoder=key)
    assert report["num_added"] == 4
    assert index([Document(TEXTS[0])], manager, retriever, cleanup="full", key_encoder=key)["num_deleted"] == 3
    assert names(retriever.invoke(QUERY)) == TEXTS[:1]


def test_milvus_drops_what_the_first_documents_had_not(make, scans, call):
    """Without a word, unless its fields are dynamic: then pages have no image, and are ranked by their texts."""
    for options, kept in (({"enable_dynamic_field": False}, False), ({}, True)):
        retriever = make("milvus", store=milvus, **options)
        call(retriever, "add_documents", [Document("a text", metadata={"place": 1})])
        image = {"place": 2, "image_uri": str(scans / "red.png")}
        call(retriever, "add_documents", [Document("a page", metadata=image)])
        found = call(retriever, "invoke", ImageInput(scans / "red.png"))
        assert any("image_uri" in document.metadata for document in found) is kept


def test_milvus_calls_a_filter_expr(fill, call):
    """And the error says so, before it searches."""
    retriever, _ = fill("milvus")
    with pytest.raises(OptionError, match=r"of Milvus has expr and filter_params in its place.*expr=\.\.\."):
        call(retriever, "invoke", QUERY, filter={"place": 2})
    assert names(call(retriever, "invoke", QUERY, expr="place == 2")) == [TEXTS[2]]


def test_milvus_itself_has_the_id_in_the_metadata(fill, call):
    """As its primary key; what the retriever finds has it as its id, and is deleted by that."""
    retriever, ids = fill("milvus")
    (itself,) = call(retriever.vectorstore, "similarity_search", QUERY, k=1)
    assert (itself.id, itself.metadata["pk"]) == (None, ids[1])
    (found,) = call(retriever, "invoke", QUERY, k=1)
    assert (found.id, found.metadata.keys()) == (ids[1], {"place", "relevance_score"})
    call(retriever, "delete", [found.id])
    assert TEXTS[1] not in names(call(retriever, "invoke", QUERY, k=9))


def test_what_milvus_numbers_is_deleted_by_its_numbers(make, call):
    """Which are no texts, as ids of documents are: they stay in the metadata."""
    retriever = make("milvus", store=milvus, auto_id=True)
    call(retriever, "add_documents", [Document("a text")])
    (found,) = call(retriever, "invoke", QUERY)
    assert (found.id, type(found.metadata["pk"])) == (None, int)
    call(retriever, "delete", [found.metadata["pk"]])
    assert call(retriever, "invoke", QUERY) == []


def test_lancedb_takes_the_keys_of_the_first_documents(fill, call):
    """A table has the columns with which it was made."""
    retriever, _ = fill("lancedb")
    with pytest.raises(ValueError, match="field 'other' does not exist in table schema"):
        call(retriever, "add_documents", [Document("a text", metadata={"place": 1, "other": 2})])


def test_lancedb_filters_by_sql(fill, call):
    """Metadata are a column with fields."""
    retriever, _ = fill("lancedb")
    with pytest.raises(ValueError, match="No field named place"):
        call(retriever, "invoke", QUERY, filter="place = 2")
    assert names(call(retriever, "invoke", QUERY, filter="metadata.place = 2")) == [TEXTS[2]]


def test_sqlite_numbers_its_rows(make, call):
    """Whatever ids it is given."""
    retriever = make("sqlite")
    assert call(retriever, "add_documents", [Document("a text", id="my id"), Document("another")]) == [1, 2]
