"""LlamaIndex's retriever over vector stores of all kinds: what they do not do is told."""

from __future__ import annotations

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import (
    MetadataFilter,
    MetadataFilters,
    SimpleVectorStore,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from jina_vllm_integrations import OptionError, StoreError
from jina_vllm_integrations.adapters import portions
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever

TEXTS = ["ein blaues Quadrat", "the red circle is here", "nothing of the kind", "noch ein Satz"]
QUERY = "where is the red circle"
ONLY = MetadataFilters(filters=[MetadataFilter(key="place", value=2)])


@pytest.fixture
def embedding(engine):
    """Return an embedding over a fake engine."""
    return JinaVLLMEmbedding(engine=engine)


@pytest.fixture
def make(embedding, token_store):
    """Return a maker of retrievers over a vector store."""

    def make(vector_store, **options):
        context = StorageContext.from_defaults(vector_store=vector_store)
        index = VectorStoreIndex([], storage_context=context, embed_model=embedding)
        return JinaVLLMMultiVectorRetriever(index=index, embedding=embedding, token_store=token_store, **options)

    return make


def nodes(texts=TEXTS):
    """Return nodes with ids and metadata."""
    return [TextNode(text=text, id_=f"id {place}", metadata={"place": place}) for place, text in enumerate(texts)]


def texts(found):
    """Return what was found."""
    return [each.node.text for each in found]


class Keeps(BasePydanticVectorStore):
    """A store around another."""

    stores_text: bool = False
    inner: SimpleVectorStore = SimpleVectorStore()

    @property
    def client(self):
        """Not needed here."""

    def add(self, nodes, **options):
        """Keep."""
        return self.inner.add(nodes, **options)

    def delete(self, ref_doc_id, **options):
        """Delete."""
        self.inner.delete(ref_doc_id, **options)

    def query(self, query, **options):
        """Find as asked."""
        return self.inner.query(query, **options)


class IgnoresFilters(BasePydanticVectorStore):
    """A store that leaves a query's filters where they are."""

    stores_text: bool = True
    kept: list

    @property
    def client(self):
        """Not needed here."""

    def add(self, nodes, **options):
        """Keep."""
        self.kept.extend(nodes)
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id, **options):
        """Not needed here."""

    def query(self, query: VectorStoreQuery, **options):
        """Find all."""
        found = self.kept[: query.similarity_top_k]
        return VectorStoreQueryResult(
            nodes=found, similarities=[1.0] * len(found), ids=[each.node_id for each in found]
        )


def test_filters_that_a_store_ignores_are_refused(make, engine, call):
    """Before anything is computed."""
    retriever = make(IgnoresFilters(kept=[]), filters=ONLY)
    retriever.insert_nodes(nodes())
    engine.batches.clear()
    with pytest.raises(OptionError, match=r"IgnoresFilters looks at those of no query.*insist on it"):
        call(retriever, "retrieve", QUERY)
    assert engine.batches == []


def test_who_insists_on_filters_is_believed(embedding, call):
    """By a first stage that was made with them."""
    index = VectorStoreIndex.from_vector_store(IgnoresFilters(kept=nodes()), embed_model=embedding)
    first = VectorIndexRetriever(index, filters=ONLY)
    found = call(JinaVLLMMultiVectorRetriever(retriever=first, embedding=embedding), "retrieve", QUERY)
    assert found


@pytest.mark.parametrize("store", [SimpleVectorStore, lambda: Keeps(inner=SimpleVectorStore())], ids=["own", "around"])
def test_filters_that_are_read_work(make, store, call):
    """Also by a store within the store."""
    retriever = make(store(), filters=ONLY)
    retriever.insert_nodes(nodes())
    assert texts(call(retriever, "retrieve", QUERY)) == ["nothing of the kind"]


class RefusesMore(SimpleVectorStore):
    """A store that finds no more than it has."""

    def query(self, query, **options):
        """Find, or refuse."""
        if query.similarity_top_k > len(self.data.embedding_dict):
            raise ValueError(f"k = {query.similarity_top_k} must be at most {len(self.data.embedding_dict)}")
        return super().query(query, **options)


def test_a_store_that_refuses_more_than_it_has_is_asked_again(make, call):
    """For as many as it says."""
    retriever = make(RefusesMore(), similarity_top_k=9)
    retriever.insert_nodes(nodes())
    assert len(call(retriever, "retrieve", QUERY)) == 4


class Counts(SimpleVectorStore):
    """A store that notes how many nodes it is given at once."""

    def add(self, nodes, **options):
        """Note, and keep."""
        CALLS.append(len(nodes))
        return super().add(nodes, **options)


CALLS: list[int] = []


def test_one_call_is_one_call_of_the_stores(make, monkeypatch, call):
    """Where all fits in memory."""
    CALLS.clear()
    call(make(Counts()), "insert_nodes", nodes([f"text {number}" for number in range(150)]))
    monkeypatch.setattr(portions, "PORTION", 128)
    call(make(Counts()), "insert_nodes", nodes([f"text {number}" for number in range(150)]))
    assert CALLS == [150, 128, 22]


class Overwrites(SimpleVectorStore):
    """A store whose every call overwrites what is there."""

    def add(self, nodes, **options):
        """Forget, and keep."""
        self.clear()
        return super().add(nodes, **options)


def test_a_store_that_overwrites_is_refused_where_calls_are_many(make, monkeypatch, call):
    """One call is well; a second that loses the first is not."""
    many = nodes([f"text {number}" for number in range(150)])
    call(make(Overwrites()), "insert_nodes", many)
    monkeypatch.setattr(portions, "PORTION", 128)
    with pytest.raises(StoreError, match=r"Overwrites must keep what is there.*'id 0' is gone: each call overwrites"):
        call(make(Overwrites()), "insert_nodes", many)


def test_blank_pages_are_no_sign_of_overwriting(make, monkeypatch, call):
    """What is like the last call's is not looked for."""
    monkeypatch.setattr(portions, "PORTION", 128)
    retriever = make(SimpleVectorStore(), similarity_top_k=200, fetch_k=200)
    alike = [TextNode(text="blank", id_=f"id {number}") for number in range(150)]
    call(retriever, "insert_nodes", alike)
    assert len(call(retriever, "retrieve", QUERY)) == 150
