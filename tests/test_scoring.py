"""MaxSim: the sum over the query's tokens of the best inner product, each document by itself."""

from __future__ import annotations

import numpy as np
import pytest

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.scoring import score


def vectors(*shape, seed=0):
    """Return vectors of unit length, as the model's are."""
    drawn = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def max_sim(query, document):
    """Return a score, one inner product after the other, in float64."""
    total = 0.0
    for token in query.astype(np.float64):
        total += max(float(token @ other) for other in document.astype(np.float64))
    return total


QUERY = vectors(9, 128)
DOCUMENTS = [vectors(n_tokens, 128, seed=n_tokens) for n_tokens in (1, 40, 3, 700, 17)]


def test_scores_are_those_of_a_plain_loop():
    """Documents of any length are scored in their order, in float32."""
    scores = score(QUERY, DOCUMENTS)
    assert (scores.shape, scores.dtype) == ((5,), np.float32)
    np.testing.assert_allclose(scores, [max_sim(QUERY, document) for document in DOCUMENTS], rtol=0, atol=1e-5)


def test_a_score_does_not_depend_on_the_neighbours():
    """Alone, in another order, or beside longer documents, a document has the same score to the last bit."""
    scores = score(QUERY, DOCUMENTS)
    assert [score(QUERY, [document])[0] for document in DOCUMENTS] == list(scores)
    np.testing.assert_array_equal(score(QUERY, DOCUMENTS[::-1]), scores[::-1])


def test_negative_similarities_stay_negative():
    """Where no token fits, the least bad one counts, and nothing is lifted to zero."""
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    document = np.array([[-1, -0.25], [-0.5, -1]], dtype=np.float32)
    assert score(query, [document, -query]).tolist() == [-0.75, 0]


def test_arrays_are_not_changed():
    """What is scored can be scored again."""
    query, document = QUERY.copy(), DOCUMENTS[1].copy()
    score(query, [document])
    np.testing.assert_array_equal(query, QUERY)
    np.testing.assert_array_equal(document, DOCUMENTS[1])


def test_no_documents():
    """Nothing to score gives no score."""
    scores = score(QUERY, [])
    assert (scores.shape, scores.dtype) == ((0,), np.float32)


@pytest.mark.parametrize("wrong", [vectors(0, 128), vectors(5, 64), vectors(5, 129), vectors(128), vectors(1, 5, 128)])
def test_a_document_that_does_not_fit_is_named(wrong):
    """No token, another width, or another number of axes: the error has the position and the shape."""
    with pytest.raises(InputError) as caught:
        score(QUERY, [DOCUMENTS[0], wrong, DOCUMENTS[1]])
    assert caught.value.index == 1
    assert str(caught.value).startswith(
        "item 1: a document's token vectors must have the query's shape (n_tokens, 128)"
    )
    assert f"got {wrong.shape}" in str(caught.value)


@pytest.mark.parametrize("wrong", [vectors(0, 128), vectors(5, 0), vectors(128), vectors(1, 5, 128)])
def test_a_query_that_cannot_be_scored_is_told(wrong):
    """A query has no position, also where there is no document."""
    with pytest.raises(InputError, match="a query's token vectors must have the shape") as caught:
        score(wrong, [])
    assert caught.value.index is None
    assert f"got {wrong.shape}" in str(caught.value)
