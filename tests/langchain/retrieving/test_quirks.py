"""What vector stores of LangChain's do in their own ways, and the retriever bears."""

from __future__ import annotations

import asyncio

import pytest
from langchain_chroma import Chroma
from langchain_community.vectorstores import LanceDB, SKLearnVectorStore
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from jina_vllm_integrations import ImageInput, OptionError, StoreError
from jina_vllm_integrations.adapters import portions
from langchain_stores import COLOURS, QUERY, TEXTS, chroma, documents, names, qdrant


@pytest.fixture
def lance(tmp_path):
    """Return what makes a LanceDB, which overwrites at each call unless told otherwise."""
    return lambda embeddings, **options: LanceDB(uri=str(tmp_path / "lance"), embedding=embeddings, **options)


def texts(number):
    """Return documents of so many texts."""
    return [Document(f"text {place}", id=f"id {place}") for place in range(number)]


def rows(retriever):
    """Return how many documents a LanceDB has."""
    return retriever.vectorstore.get_table().count_rows()


class Counts(InMemoryVectorStore):
    """A store that notes how many texts it is given at once."""

    def __init__(self, embedding):
        super().__init__(embedding)
        self.calls = []

    def add_documents(self, documents, ids=None, **options):
        """Note, and keep."""
        self.calls.append(len(documents))
        return super().add_documents(documents, ids, **options)

    async def aadd_documents(self, documents, ids=None, **options):
        """Do the same."""
        self.calls.append(len(documents))
        return await super().aadd_documents(documents, ids, **options)


def test_one_call_is_one_call_of_the_stores(make, scans, call):
    """Also with equal texts, which pages without a text have, and their vectors are their own."""
    retriever = make(Counts)
    pages = [Document("a page", metadata={"image_uri": str(scans / f"{colour}.png")}) for colour in COLOURS]
    call(retriever, "add_documents", [*pages, *texts(100), *pages[:1]])
    assert retriever.vectorstore.calls == [105]
    for colour in COLOURS[:3]:
        (found,) = call(retriever, "invoke", ImageInput(scans / f"{colour}.png"), k=1)
        assert found.metadata["image_uri"].endswith(f"{colour}.png")


def test_a_store_that_overwrites_keeps_all_of_one_call(make, lance, call):
    """LanceDB's default."""
    retriever = make(lance)
    call(retriever, "add_documents", texts(100))
    assert rows(retriever) == 100


@pytest.mark.parametrize("number", [130, 300])
def test_a_store_that_overwrites_is_refused_where_calls_are_many(make, lance, monkeypatch, number, call):
    """With what to do, which works."""
    monkeypatch.setattr(portions, "PORTION", 128)
    with pytest.raises(StoreError, match=r"LanceDB must keep what is there.*mode='append'"):
        call(make(lance), "add_documents", texts(number))


def test_stores_that_keep_are_given_portions(make, lance, monkeypatch, call):
    """Looked up by ids, or by a vector."""
    monkeypatch.setattr(portions, "PORTION", 128)
    retriever = make(lambda embeddings: lance(embeddings, mode="append"))
    call(retriever, "add_documents", texts(300))
    assert rows(retriever) == 300
    retriever = make(chroma)
    assert len(call(retriever, "get_by_ids", call(retriever, "add_documents", texts(300)))) == 300
    retriever = make(Counts)
    call(retriever, "add_documents", texts(300))
    assert retriever.vectorstore.calls == [128, 128, 44]


class Shuffles(InMemoryVectorStore):
    """A store that asks for each text once, and backwards."""

    def add_documents(self, documents, ids=None, **options):
        """Ask."""
        asked = sorted({document.page_content for document in documents}, reverse=True)
        vectors = dict(zip(asked, self.embedding.embed_documents(asked), strict=True))
        for name, document in zip(ids, documents, strict=True):
            vector = vectors[document.page_content]
            self.store[name] = {"id": name, "vector": vector, "text": document.page_content, "metadata": {}}
        return ids

    async def aadd_documents(self, documents, ids=None, **options):
        """Do the same."""
        return await asyncio.to_thread(self.add_documents, documents, ids, **options)


def test_a_store_that_asks_in_another_order(make, scans, call):
    """Gets the vectors, unless documents with equal texts would get each other's."""
    retriever = make(Shuffles)
    call(retriever, "add_documents", [*texts(3), *texts(2)])
    assert names(call(retriever, "invoke", "text 1", k=1)) == ["text 1"]
    pages = [Document("a page", metadata={"image_uri": str(scans / f"{colour}.png")}) for colour in COLOURS]
    with pytest.raises(StoreError, match="Shuffles must ask for the texts of documents in their order"):
        call(retriever, "add_documents", [*pages, Document("text")])


def test_documents_are_deleted_where_they_cannot_be_looked_up(make, lance, call):
    """By the store's own delete; how many there were is not known."""
    retriever = make(lambda embeddings: lance(embeddings, mode="append"))
    call(retriever, "add_documents", texts(4))
    answer = call(retriever, "delete", ["id 1", "id 2", "id 2", "not there"])
    assert (answer.get("num_deleted"), answer["num_failed"], rows(retriever)) == (None, 0, 2)
    call(retriever, "delete", [])
    with pytest.raises(OptionError, match="get_by_ids, LanceDB has none"):
        call(retriever, "get_by_ids", ["id 0"])


@pytest.mark.parametrize("way", ["sync", "async"])
def test_langchains_index_cleans_up_where_documents_cannot_be_looked_up(make, lance, way):
    """What is no longer there is deleted."""
    retriever = make(lambda embeddings: lance(embeddings, mode="append"))
    manager = InMemoryRecordManager("pages")
    manager.create_schema()

    def run(given):
        options = {"cleanup": "full", "key_encoder": "sha256"}
        if way == "sync":
            return index(given, manager, retriever, **options)
        return asyncio.run(aindex(given, manager, retriever, **options))

    assert run([Document(f"text {place}") for place in range(4)])["num_added"] == 4
    assert run([Document(f"text {place}") for place in range(3)])["num_deleted"] == 1
    assert rows(retriever) == 3


def test_a_store_that_cannot_delete_says_so(make, embeddings, call):
    """Scikit-learn's."""
    retriever = make(SKLearnVectorStore, embeddings=embeddings)
    with pytest.raises(OptionError, match="the store's delete, SKLearnVectorStore has none"):
        call(retriever, "delete", ["id 1"])


def test_a_store_that_did_not_delete_is_not_believed(make, call):
    """Its answer is."""

    class Keeps(InMemoryVectorStore):
        def delete(self, ids=None, **options):
            return False

        async def adelete(self, ids=None, **options):
            return False

    retriever = make(Keeps)
    call(retriever, "add_documents", texts(1))
    with pytest.raises(StoreError, match="Keeps must delete"):
        call(retriever, "delete", ["id 0"])


class Numbers(VectorStore):
    """A store that gives ids of its own unless told ids, and has no look at those of documents."""

    own = True

    def __init__(self, embedding):
        self.inner = InMemoryVectorStore(embedding)

    @property
    def embeddings(self):
        """Those of the store."""
        return self.inner.embeddings

    def add_documents(self, documents, *, ids=None, **options):
        """Keep by the ids that are given, or by numbers."""
        ids = [str(place) for place in range(1, len(documents) + 1)] if self.own or ids is None else ids
        plain = [Document(document.page_content, metadata=document.metadata) for document in documents]
        return self.inner.add_documents(plain, ids=ids)

    def similarity_search_by_vector(self, embedding, k=4, **options):
        """Find."""
        return self.inner.similarity_search_by_vector(embedding, k)

    def similarity_search(self, query, k=4, **options):
        """Find by text."""
        return self.inner.similarity_search(query, k)

    def delete(self, ids=None, **options):
        """Delete."""
        self.inner.delete(ids)

    @classmethod
    def from_texts(cls, *given, **options):
        """Not needed here."""
        raise NotImplementedError


class TakesIds(Numbers):
    """One that keeps by the ids that it is told."""

    own = False

    async def aadd_documents(self, documents, *, ids=None, **options):
        """Keep."""
        return self.add_documents(documents, ids=ids)


class TakesNone(Numbers):
    """One that has numbers all the same."""

    async def aadd_documents(self, documents, *, ids=None, **options):
        """Keep."""
        return self.add_documents(documents)


def test_ids_are_told_to_the_store(make, call):
    """As LangChain's ``index`` does."""
    retriever = make(TakesIds)
    assert call(retriever, "add_documents", texts(2)) == ["id 0", "id 1"]
    assert {found.id for found in call(retriever, "invoke", "text 1")} == {"id 0", "id 1"}


def test_ids_are_what_the_store_returns(make, call, caplog):
    """By which documents are deleted; who gave others is told once."""
    retriever = make(TakesNone)
    ids = call(retriever, "add_documents", texts(2))
    assert ids == ["1", "2"]
    assert caplog.text.count("TakesNone keeps documents under ids of its own") == 1
    call(retriever, "delete", ids[:1])
    assert names(call(retriever, "invoke", "text 1")) == ["text 1"]


def test_qdrants_own_keys_are_not_in_the_metadata(make, call):
    """Neither of what is found nor of what is looked up; what was found can be written again."""
    retriever = make(qdrant)
    ids = call(retriever, "add_documents", documents())
    found = call(retriever, "invoke", QUERY, k=1)[0]
    assert found.metadata.keys() == {"place", "relevance_score"}
    assert {kept.id: kept.metadata for kept in call(retriever, "get_by_ids", ids)} == {
        document.id: document.metadata for document in documents()
    }


class Milvus(Numbers):
    """A store that has ids in the metadata, as Milvus does."""

    own = False
    _primary_field = "pk"
    _metadata_field = None

    def add_documents(self, documents, *, ids=None, **options):
        """Keep them there."""
        given = [
            Document(document.page_content, metadata={**document.metadata, self._primary_field: name})
            for document, name in zip(documents, ids, strict=True)
        ]
        return self.inner.add_documents(given, ids=ids)

    async def aadd_documents(self, documents, *, ids=None, **options):
        """Do the same."""
        return self.add_documents(documents, ids=ids)

    def similarity_search_by_vector(self, embedding, k=4, **options):
        """Find without ids."""
        found = self.inner.similarity_search_by_vector(embedding, k)
        return [Document(document.page_content, metadata=document.metadata) for document in found]

    def similarity_search(self, query, k=4, **options):
        """Find by text."""
        return self.similarity_search_by_vector(self.embeddings.embed_query(query), k)


class Zilliz(Milvus):
    """One that is made of it, and calls its key otherwise."""

    _primary_field = "key"


@pytest.mark.parametrize("kind", [Milvus, Zilliz])
def test_an_id_in_the_metadata_is_the_documents(make, embeddings, kind, call):
    """And no longer in the metadata, of a store or of its retriever, whatever configures that."""
    retriever = make(kind)
    given = documents()
    call(retriever, "add_documents", given)
    own = retriever.vectorstore.as_retriever()
    firsts = [own, own.with_config(tags=["own"]), RunnableLambda(str) | own]
    over = [make(vectorstore=None, retriever=first, embeddings=embeddings) for first in firsts]
    for finding in [retriever, *over]:
        best = call(finding, "invoke", QUERY, k=1)[0]
        assert (best.id, best.metadata.keys()) == (given[1].id, {"place", "relevance_score"})
    assert names(call(retriever, "invoke", QUERY))[0] == TEXTS[1]


def test_metadata_of_a_field_of_their_own_are_the_documents(make, call):
    """A key that is called like the store's id is none."""

    class Apart(Milvus):
        _metadata_field = "metadata"

        def similarity_search_by_vector(self, embedding, k=4, **options):
            found = self.inner.similarity_search_by_vector(embedding, k)
            return [Document(document.page_content, metadata={"pk": "theirs"}) for document in found]

    retriever = make(Apart)
    call(retriever, "add_documents", texts(1))
    (found,) = call(retriever, "invoke", QUERY)
    assert (found.id, found.metadata["pk"]) == (None, "theirs")


def test_another_stores_key_is_the_documents(make, call):
    """Where a store is no Milvus, what metadata call pk is nothing that we know."""
    retriever = make(InMemoryVectorStore)
    call(retriever, "add_documents", [Document("a text", id="id", metadata={"pk": "theirs"})])
    (found,) = call(retriever, "invoke", QUERY)
    assert (found.id, found.metadata["pk"]) == ("id", "theirs")


def test_documents_without_metadata_are_looked_up_and_deleted_in_chroma(make, call):
    """Its own look-up raises; those of none are passed over, and with metadata they are as they were."""
    retriever = make(chroma)
    given = [*texts(2), Document("another", id="id 2", metadata={"place": 1})]
    call(retriever, "add_documents", given)
    there = call(retriever, "get_by_ids", ["id 0", "id 1", "id 2", "not there"])
    assert sorted(there, key=lambda document: document.id) == given
    assert call(retriever, "delete", ["id 0", "id 2", "not there"])["num_deleted"] == 2
    assert names(call(retriever, "invoke", QUERY)) == ["text 1"]


def test_a_look_up_of_ones_own_over_chroma_is_asked(make, call):
    """It may know more than Chroma's."""

    class Own(Chroma):
        def get_by_ids(self, ids, /):
            return [Document("my own", id=name) for name in ids]

    class OwnInALoop(Chroma):
        async def aget_by_ids(self, ids, /):
            return [Document("my own", id=name) for name in ids]

    assert names(call(make(lambda embeddings: Own("own", embeddings)), "get_by_ids", ["id"])) == ["my own"]
    assert names(asyncio.run(make(lambda embeddings: OwnInALoop("own", embeddings)).aget_by_ids(["id"]))) == ["my own"]


def test_a_store_that_refuses_more_than_it_has_is_asked_again(make, embeddings, call):
    """Scikit-learn's, for as many as it says."""
    retriever = make(SKLearnVectorStore, embeddings=embeddings)
    call(retriever, "add_documents", documents())
    assert names(call(retriever, "invoke", QUERY, k=4))[0] == "the red circle is here"
    assert len(call(retriever, "invoke", QUERY, k=9)) == 4


def test_other_refusals_stay(make, call):
    """Also with numbers in them."""

    class Broken(InMemoryVectorStore):
        asked = 0

        def similarity_search_by_vector(self, embedding, k=4, **options):
            self.asked += 1
            raise ValueError(self.rule)

    retriever = make(Broken)
    for rule, asked in (("error 7", 1), ("k = 50, of 7", 3)):
        retriever.vectorstore.rule = rule
        with pytest.raises(ValueError, match=rule):
            call(retriever, "invoke", QUERY)
        assert retriever.vectorstore.asked == asked
