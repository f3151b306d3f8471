"""The first stage of LangChain's retriever by maximal marginal relevance, in stores that have it."""

from __future__ import annotations

import pytest
from langchain_community.vectorstores import SKLearnVectorStore
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from pydantic import ValidationError

from jina_vllm_integrations import ImageInput, OptionError
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import COLOURS, QUERY, STORES, documents, names, qdrant

ALIKE = ["the red circle is here", "here the red circle is", "is the red circle here"]
OTHER = "nothing of the kind"


def filled(make, store, **fields):
    """Return a retriever over texts of which all but one are alike."""
    retriever = make(store, **fields)
    retriever.add_documents(documents([*ALIKE, OTHER]))
    return retriever


class Noting(InMemoryVectorStore):
    """Notes how many it was asked for, and of how many it chose them."""

    def max_marginal_relevance_search_by_vector(self, embedding, k=4, fetch_k=20, lambda_mult=0.5, **kwargs):
        """Note, and find."""
        self.asked = (k, fetch_k, lambda_mult)
        return super().max_marginal_relevance_search_by_vector(embedding, k, fetch_k, lambda_mult, **kwargs)


class OnlySimilar(InMemoryVectorStore):
    """A store without it."""

    max_marginal_relevance_search = VectorStore.max_marginal_relevance_search
    max_marginal_relevance_search_by_vector = VectorStore.max_marginal_relevance_search_by_vector


class OnlyByText(InMemoryVectorStore):
    """A store that has it for texts alone."""

    max_marginal_relevance_search_by_vector = VectorStore.max_marginal_relevance_search_by_vector

    def max_marginal_relevance_search(self, query, k=4, fetch_k=20, lambda_mult=0.5, **kwargs):
        """Find by a text."""
        vector = self.embedding.embed_query(query)
        return InMemoryVectorStore.max_marginal_relevance_search_by_vector(self, vector, k, fetch_k, lambda_mult)


def scikit_learn(embeddings):
    """Return scikit-learn's, which refuses to find more than it has."""
    return SKLearnVectorStore(embeddings)


@pytest.mark.parametrize("store", [*STORES, OnlyByText], ids=lambda store: store.__name__)
def test_what_is_unlike_is_found(make, store, call):
    """Where similarity alone would have fetched two that are alike; late interaction has the last word on the order."""
    # langchain-qdrant hands the number over as Qdrant's ``diversity``, which is the other way round.
    unlike, alike = (0.9, 0.0) if store is qdrant else (0.1, 1.0)
    retriever = filled(make, store, k=2, fetch_k=2)
    assert OTHER not in names(call(retriever, "invoke", QUERY))
    best, last = names(call(retriever, "invoke", QUERY, search_type="mmr", lambda_mult=unlike))
    assert best in ALIKE
    assert last == OTHER
    always = retriever.model_copy(update={"search_type": "mmr", "search_kwargs": {"lambda_mult": unlike}})
    assert names(call(always, "invoke", QUERY)) == [best, OTHER]
    assert OTHER not in names(call(always, "invoke", QUERY, lambda_mult=alike))


def test_scikit_learns_store_has_fewer(make, embeddings, call):
    """Than the number of which it would choose: it is asked again for what it has."""
    retriever = filled(make, scikit_learn, embeddings=embeddings, k=2, fetch_k=2, search_type="mmr")
    assert names(call(retriever, "invoke", QUERY, lambda_mult=0.1))[1] == OTHER
    assert len(call(retriever, "invoke", QUERY, k=4, fetch_k=50)) == 4


def test_of_how_many_is_chosen(make, call):
    """Of four times as many as are fetched, or as ``search_kwargs`` say."""
    retriever = filled(make, Noting, search_type="mmr")
    call(retriever, "invoke", QUERY, fetch_k=30)
    assert retriever.vectorstore.asked == (30, 120, 0.5)
    wide = retriever.model_copy(update={"search_kwargs": {"fetch_k": 500, "lambda_mult": 0.3}})
    call(wide, "invoke", QUERY, k=60)
    assert wide.vectorstore.asked == (60, 500, 0.3)
    with pytest.raises(OptionError, match=r"must be at least the retriever's fetch_k, 501, got 500\. Enlarge it"):
        call(wide, "invoke", QUERY, fetch_k=501)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"search_type": "similarity_score_threshold"}, "Input should be 'similarity' or 'mmr'"),
        ({"search_type": "mmr", "search_kwargs": {"fetch_k": 20}}, "the pool of which MMR chooses.* 50, got 20"),
        (
            {"search_type": "mmr", "search_kwargs": {"fetch_k": "all"}},
            "fetch_k in search_kwargs must be a whole",
        ),
        ({"search_kwargs": {"search_type": "mmr"}}, "search_type must be the retriever's own"),
        ({"fetch_k": None}, "fetch_k must be a whole number with vectorstore=, got None"),
    ],
)
def test_what_cannot_be_chosen(make, fields, rule):
    """Is told when the retriever is made."""
    with pytest.raises(ValidationError, match=rule):
        make(**fields)


def test_a_store_without_it_is_named(make, engine, call):
    """When the retriever is made, and for a call before anything is computed; so is one that has it for texts alone."""
    with pytest.raises(ValidationError, match=r"needs a store with .*, OnlySimilar has neither"):
        make(OnlySimilar, search_type="mmr")
    retriever = filled(make, OnlySimilar)
    engine.batches.clear()
    with pytest.raises(OptionError, match="OnlySimilar has neither"):
        call(retriever, "invoke", QUERY, search_type="mmr")
    with pytest.raises(OptionError, match=r"search_type must be one of 'similarity', 'mmr', got 'MMR'"):
        call(retriever, "invoke", QUERY, search_type="MMR")
    with pytest.raises(OptionError, match="must have max_marginal_relevance_search_by_vector, OnlyByText has not"):
        call(make(OnlyByText, search_type="mmr"), "invoke", ImageInput(b"a picture"))
    assert engine.batches == []


def test_qdrants_index_has_none(make, call):
    """Its two stages are one request."""
    with pytest.raises(OptionError, match="finds by similarity, got search_type='mmr'"):
        call(make(QdrantIndex), "invoke", QUERY, search_type="mmr")
    with pytest.raises(ValidationError, match="fetch_k must be a whole number with index="):
        make(QdrantIndex, fetch_k=None)


def test_options_are_read_or_refused(make, engine, call):
    """A filter holds; what is no option of this search is refused before anything is computed."""
    retriever = filled(make, InMemoryVectorStore, search_type="mmr")
    chosen = call(retriever, "invoke", QUERY, filter=lambda document: document.metadata["place"] > 1)
    assert sorted(names(chosen)) == sorted([ALIKE[2], OTHER])
    engine.batches.clear()
    with pytest.raises(OptionError, match="lambda_mul= must be read"):
        call(retriever, "invoke", QUERY, lambda_mul=0.3)
    with pytest.raises(OptionError, match="lambda_mult= must be read"):
        call(retriever, "invoke", QUERY, search_type="similarity", lambda_mult=0.3)
    assert engine.batches == []


def test_an_image_finds_by_it(make, scans, call):
    """As by similarity."""
    retriever = make(search_type="mmr")
    retriever.add_images([scans / f"{colour}.png" for colour in COLOURS])
    assert names(call(retriever, "invoke", ImageInput(scans / "blue.png"), k=1)) == ["[scans/blue.png]"]
