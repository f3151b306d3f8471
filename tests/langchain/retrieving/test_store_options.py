"""Options that a search of LangChain's retriever hands to a vector store: read there, or refused before the search."""

from __future__ import annotations

import pytest
from langchain_community.vectorstores import LanceDB, SKLearnVectorStore
from langchain_core.vectorstores import InMemoryVectorStore
from qdrant_client import models

from jina_vllm_integrations import OptionError
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import QUERY, chroma, documents, faiss_store, in_memory, names, qdrant


class ReadsNothing(InMemoryVectorStore):
    """A store that ignores what it does not know."""

    def similarity_search_by_vector(self, embedding, k=4, **kwargs):
        """Find without a filter."""
        return super().similarity_search_by_vector(embedding, k)


class CallsItExpr(ReadsNothing):
    """A store with a filter of its own name."""

    def similarity_search_by_vector(self, embedding, k=4, expr=None, **kwargs):
        """Find by an expression."""
        found = super().similarity_search_by_vector(embedding, k)
        return [each for each in found if expr is None or each.metadata["place"] == expr]


class ReadsByName(ReadsNothing):
    """A store that takes its filter out of what it is given."""

    def similarity_search_by_vector(self, embedding, k=4, **kwargs):
        """Find by what is there."""
        return self.chosen(super().similarity_search_by_vector(embedding, k), **kwargs)

    def chosen(self, found, **kwargs):
        """Choose."""
        return [each for each in found if "filter" not in kwargs or kwargs.get("filter")(each)]


class PassesOn(ReadsNothing):
    """A store that gives all to a client, which cannot be seen into."""

    def similarity_search_by_vector(self, embedding, k=4, **kwargs):
        """Let the client find."""
        return CLIENT[0](self, embedding, k, **kwargs)


CLIENT = [InMemoryVectorStore.similarity_search_by_vector]


class CallsItFilterInside(CallsItExpr):
    """A store that gives its client a filter under the name that is refused here."""

    def similarity_search_by_vector(self, embedding, k=4, expr=None, **kwargs):
        """Let an inner search find."""
        return self.searched(embedding, k, filter=expr, **kwargs)

    def searched(self, embedding, k, *, filter=None, **kwargs):  # noqa: A002 - as Milvus's client calls it
        """Find by what comes from the outer search alone."""
        return super().similarity_search_by_vector(embedding, k, expr=filter)


def third(document):
    """Say whether it is the third."""
    return document.metadata["place"] == 2


def filled(make, store, **fields):
    """Return a retriever with documents."""
    retriever = make(store, **fields)
    retriever.add_documents(documents())
    return retriever


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        (ReadsNothing, "similarity_search_by_vector of ReadsNothing reads none and would find all documents"),
        (CallsItExpr, r"CallsItExpr has expr in its place.*expr=\.\.\."),
        (PassesOn, r"PassesOn has no such parameter.*search_kwargs=\{'filter'"),
    ],
)
def test_a_filter_that_would_be_ignored_is_refused(make, engine, store, rule, call):
    """Before anything is computed, naming the store's own."""
    retriever = filled(make, store)
    engine.batches.clear()
    with pytest.raises(OptionError, match=rule):
        call(retriever, "invoke", QUERY, filter=third)
    assert engine.batches == []


def test_scikit_learns_store_reads_no_filter(make, embeddings):
    """Nor any other option: a real one."""
    retriever = filled(make, lambda own: SKLearnVectorStore(own, n_neighbors=4), embeddings=embeddings)
    with pytest.raises(OptionError, match="similarity_search of SKLearnVectorStore reads none"):
        retriever.invoke(QUERY, filter={"place": 2})


def test_a_stores_own_name_works(make, call):
    """As the error says: with a call, or for all."""
    assert names(call(filled(make, CallsItExpr), "invoke", QUERY, expr=2)) == ["nothing of the kind"]
    assert names(call(filled(make, CallsItExpr, search_kwargs={"expr": 2}), "invoke", QUERY)) == ["nothing of the kind"]


def test_what_a_store_gives_its_own_search_cannot_be_given_twice(make, call):
    """A name that the store fills itself is not read from outside, and its own name is told; Milvus is so."""
    retriever = filled(make, CallsItFilterInside)
    with pytest.raises(OptionError, match=r"CallsItFilterInside has expr in its place"):
        call(retriever, "invoke", QUERY, filter=2)
    assert names(call(retriever, "invoke", QUERY, expr=2)) == ["nothing of the kind"]


@pytest.mark.parametrize("store", [in_memory, ReadsByName], ids=lambda store: store.__name__)
def test_a_filter_that_is_read_further_on_works(make, store, call):
    """Though the method that is called names none, LangChain's own store among them."""
    assert names(call(filled(make, store), "invoke", QUERY, filter=third)) == ["nothing of the kind"]


def test_who_insists_is_believed(make, call):
    """Where it cannot be seen what a client reads."""
    retriever = filled(make, PassesOn, search_kwargs={"filter": third})
    assert names(call(retriever, "invoke", QUERY)) == ["nothing of the kind"]


def test_a_typo_is_told(retriever, call):
    """By every store."""
    with pytest.raises(OptionError, match="score_treshold"):
        call(retriever, "invoke", QUERY, score_treshold=0.9)


def test_what_nobody_reads_is_told_for_all_searches_too(make, call):
    """With what is read."""
    with pytest.raises(OptionError, match="InMemoryVectorStore does not; it reads filter"):
        call(filled(make, in_memory, search_kwargs={"filters": third}), "invoke", QUERY)


IN_QDRANT = models.Filter(must=models.FieldCondition(key="metadata.place", match=models.MatchValue(value=2)))


@pytest.mark.parametrize(
    ("store", "chosen"),
    [
        (in_memory, third),
        (chroma, {"place": 2}),
        (faiss_store, {"place": 2}),
        *((q, IN_QDRANT) for q in (qdrant, QdrantIndex)),
    ],
    ids=["in_memory", "chroma", "faiss", "qdrant", "QdrantIndex"],
)
def test_real_stores_filter(make, store, chosen, call):
    """Each in its own words."""
    assert names(call(filled(make, store), "invoke", QUERY, filter=chosen)) == ["nothing of the kind"]


def test_lancedb_filters(make, tmp_path, call):
    """Beside options of its own."""

    def lance(embeddings):
        return LanceDB(uri=str(tmp_path / "lance"), embedding=embeddings, mode="append")

    retriever = filled(make, lance)
    assert names(call(retriever, "invoke", QUERY, filter="metadata.place = 2", prefilter=True)) == [
        "nothing of the kind"
    ]
