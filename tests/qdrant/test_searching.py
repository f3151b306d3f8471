"""Searching Qdrant: texts and images, the scores of late interaction, filters."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from qdrant_client import models

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.qdrant import QdrantIndex
from jina_vllm_integrations.scoring import score
from qdrant_points import QUERY, TEXTS, page


def test_a_text_is_found(index):
    """Texts that share words with the query come first, with the payload that they were given."""
    ids = index.upsert(TEXTS, payloads=[{"text": text} for text in TEXTS])
    hits = index.search(QUERY, limit=3)
    assert (hits[0].id, hits[0].payload) == (ids[0], {"text": TEXTS[0]})
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == 3
    assert index.count() == len(TEXTS)


def test_an_image_is_found_by_an_image(index):
    """Pictures are items and queries like texts."""
    ids = index.upsert([page("red"), "a text", page("blue")])
    assert index.search(page("blue", (224, 168)), limit=1)[0].id == ids[2]


def test_scores_are_max_sim(index, encoder):
    """Qdrant's scores are those of `scoring.score` on the same vectors, negative ones too, and so is the order."""
    items = [*TEXTS, page("red"), page("green")]
    ids = index.upsert(items)
    (query,) = encoder.embed_tokens([QUERY], role="query")
    documents = encoder.embed_tokens(items, role="document")
    expected = dict(zip(ids, score(query.vectors, [tokens.vectors for tokens in documents]), strict=True))
    hits = index.search(QUERY)
    assert {hit.id for hit in hits} == set(ids)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], [expected[hit.id] for hit in hits], rtol=0, atol=1e-4)


def test_scores_that_compare_across_queries(index, encoder):
    """The mean over the query's tokens, in the same order."""
    index.upsert(["ein Text", "noch ein Text", "the third"])
    (asked,) = encoder.embed_tokens(["ein Text"], role="query")
    sums, means = index.search("ein Text"), index.search("ein Text", normalize="mean")
    assert [hit.id for hit in means] == [hit.id for hit in sums]
    assert [hit.score * len(asked.vectors) for hit in means] == pytest.approx([hit.score for hit in sums])
    with pytest.raises(OptionError, match="normalize must be one of 'sum', 'mean'"):
        index.search("ein Text", normalize="max")


def test_dense_vectors_choose_what_is_ranked(index, encoder):
    """Only the nearest by their dense vectors are ranked; ``limit`` widens that."""
    ids = index.upsert(TEXTS)
    dense = encoder.embed(TEXTS, role="document") @ encoder.embed([QUERY], role="query")[0]
    nearest = [ids[row] for row in np.argsort(-dense)]
    assert {hit.id for hit in index.search(QUERY, limit=2, prefetch=2)} == set(nearest[:2])
    assert [hit.id for hit in index.search(QUERY, limit=1, prefetch=1)] == nearest[:1]
    assert {hit.id for hit in index.search(QUERY, limit=4, prefetch=1)} == set(nearest[:4])
    assert index.search(QUERY, exact=True) == index.search(QUERY)


def test_real_vectors(vllm_engine, tmp_path):
    """With vLLM's vectors, too, scores are those of `scoring.score`, also after the folder was reopened."""
    encoder = JinaEncoder(vllm_engine, task="retrieval", dimensions=vllm_engine.checkpoint.matryoshka_dimensions[0])
    items = [*TEXTS, page("red"), Image.effect_noise((150, 120), 60)]
    with QdrantIndex(encoder, "pages", path=tmp_path) as index:
        ids = index.upsert(items)
    (query,) = encoder.embed_tokens([QUERY], role="query")
    documents = encoder.embed_tokens(items, role="document")
    expected = dict(zip(ids, score(query.vectors, [tokens.vectors for tokens in documents]), strict=True))
    with QdrantIndex(encoder, "pages", path=tmp_path) as index:
        scores = {hit.id: hit.score for hit in index.search(QUERY)}
    assert scores == pytest.approx(expected, abs=1e-4)


def test_filters(index):
    """A filter applies before points are counted, so that as many are found as there are."""
    index.upsert(TEXTS, payloads=[{"n": n, "even": n % 2 == 0} for n in range(len(TEXTS))])
    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    for prefetch in (1, 100):
        hits = index.search(QUERY, limit=3, prefetch=prefetch, query_filter=even)
        assert {hit.payload["n"] for hit in hits} == {0, 2, 4}
    either = models.Filter(
        should=[models.FieldCondition(key="n", match=models.MatchValue(value=value)) for value in (1, 3)]
    )
    assert {hit.payload["n"] for hit in index.search(QUERY, query_filter=either)} == {1, 3}
    nothing = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gt=99))])
    assert index.search(QUERY, query_filter=nothing) == []
