"""Token pooling: fewer rows, each the mean of similar tokens, and none forgotten."""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jina_vllm_integrations import JinaEncoder, TokenVectors
from jina_vllm_integrations.errors import InputError, MissingExtraError, OptionError
from jina_vllm_integrations.scoring import align, score
from jina_vllm_integrations.scoring.compression import pool_tokens
from jina_vllm_integrations.scoring.quantization import dequantize, quantize
from jina_vllm_integrations.testing import FakeEngine

CLOSE = {"rtol": 0, "atol": 1e-5}


def record(vectors, *, grid=None, before=0):
    """Return a text's record, or that of an image whose cells begin after some tokens of the prompt."""
    mask = np.zeros(len(vectors), dtype=bool)
    if grid is not None:
        mask[before : before + grid[0] * grid[1]] = True
    vectors = np.asarray(vectors, dtype=np.float32)
    return TokenVectors(vectors=vectors, token_ids=np.arange(len(vectors)), image_mask=mask, grid=grid)


@st.composite
def records(draw):
    """Draw texts and images whose vectors are few directions, so that many are equal or opposite, and some zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    grid = draw(st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)))
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    n_tokens = draw(st.integers(1, 20)) if grid is None else before + math.prod(grid) + after
    vectors = rng.integers(-1, 2, (n_tokens, draw(st.sampled_from([1, 2, 3, 16])))).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths > 0, lengths, 1)
    return record(vectors, grid=grid, before=before)


def members(pooled):
    """Return the tokens of each row."""
    return [np.flatnonzero(pooled.row_of_token == row) for row in range(len(pooled.vectors))]


@given(records(), st.integers(2, 30))
def test_rows_are_the_mean_directions_of_their_tokens(tokens, factor):
    """Each token has a row, rows come in the order of their first token, and a row is what its tokens share."""
    pooled = pool_tokens(tokens, factor)
    rows = members(pooled)
    assert sorted(itertools.chain(*rows)) == list(range(len(tokens.vectors)))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert pooled.vectors.dtype == np.float32
    for row, vector in zip(rows, pooled.vectors, strict=True):
        mean = tokens.vectors[row].astype(np.float64).mean(axis=0)
        if len(row) == 1:
            assert vector.tolist() == tokens.vectors[row[0]].tolist()
        elif np.linalg.norm(mean) < 1e-6:
            assert not vector.any()
        else:
            np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), **CLOSE)


@given(records(), st.integers(2, 30))
def test_a_row_for_so_many_tokens(tokens, factor):
    """Of a text all tokens are pooled, of an image only its cells; whatever is equal shares a row."""
    pooled = pool_tokens(tokens, factor)
    mask = tokens.image_mask if tokens.grid else np.ones(len(tokens.vectors), dtype=bool)
    rows_of_pooled = set(pooled.row_of_token[mask])
    n_distinct = len(np.unique(tokens.vectors[mask], axis=0))
    assert len(rows_of_pooled) <= min(math.ceil(mask.sum() / factor), n_distinct)
    assert len(pooled.vectors) == len(rows_of_pooled) + (~mask).sum()
    assert not rows_of_pooled & set(pooled.row_of_token[~mask])


@given(records(), st.integers(1, 30))
def test_the_record_says_the_rest_as_before(tokens, factor):
    """Ids, mask and grid stay, and the item's own record does not change."""
    before = tokens.vectors.copy()
    pooled = pool_tokens(tokens, factor)
    assert pooled.token_ids is tokens.token_ids
    assert pooled.image_mask is tokens.image_mask
    assert pooled.grid == tokens.grid
    assert tokens.vectors.tobytes() == before.tobytes()
    assert pool_tokens(tokens, factor).vectors.tobytes() == pooled.vectors.tobytes()


def test_similar_tokens_are_the_ones_that_share():
    """Three bundles of directions become their three means."""
    rng = np.random.default_rng(0)
    bundle = np.repeat(np.arange(3), 8)
    rng.shuffle(bundle)
    vectors = np.eye(3, 32, dtype=np.float32)[bundle] + rng.normal(0, 0.02, (24, 32)).astype(np.float32)
    pooled = pool_tokens(record(vectors), 8)
    assert [set(bundle[row]) for row in members(pooled)] == [{number} for number in dict.fromkeys(bundle.tolist())]


def test_factor_1_is_the_record_itself():
    """Nothing is copied, whatever the record is."""
    pooled = pool_tokens(record(np.eye(4)), 2)
    assert pool_tokens(pooled, 1) is pooled


def test_distinct_vectors_have_exactly_their_share():
    """Where no distance comes twice, the number of rows is the rounded-up share."""
    vectors = np.random.default_rng(0).standard_normal((50, 16), dtype=np.float32)
    n_rows = [len(pool_tokens(record(vectors), factor).vectors) for factor in (2, 3, 4, 49, 50, 99)]
    assert n_rows == [25, 17, 13, 2, 1, 1]


def test_what_cancels_out_is_zero():
    """Opposite vectors have no mean direction, not even rounding's."""
    vector = np.random.default_rng(0).standard_normal((1, 128), dtype=np.float32)
    vector /= np.linalg.norm(vector)
    for vectors in (np.concatenate([vector, -vector]), np.concatenate([vector, vector * np.float32(-1 - 1e-7)])):
        pooled = pool_tokens(record(vectors), 2)
        assert pooled.vectors.shape == (1, 128)
        assert not pooled.vectors.any()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stored_vectors_are_pooled_in_float32(dtype):
    """Rows that were kept in fewer bytes give what their float32 gives."""
    vectors = np.random.default_rng(0).standard_normal((30, 16), dtype=np.float32)
    kept, scales = quantize(vectors, dtype)
    stored = replace(record(vectors, grid=(5, 5), before=2), vectors=kept, scales=scales)
    floats = replace(stored, vectors=dequantize(kept, scales), scales=None)
    pooled = pool_tokens(stored, 3)
    assert pooled.scales is None
    assert pooled.vectors.tobytes() == pool_tokens(floats, 3).vectors.tobytes()


@pytest.mark.parametrize("factor", [0, -1, 2.0, "2", None, True])
def test_a_factor_is_a_whole_number_from_1(factor):
    """Anything else is told."""
    with pytest.raises(OptionError, match=r"factor must be a whole number from 1, got "):
        pool_tokens(record(np.eye(4)), factor)


def test_what_cannot_be_pooled():
    """Pooled tokens, none, and what is not finite."""
    pooled = pool_tokens(record([[1, 0], [1, 0], [0, 1], [0, 1]]), 2)
    with pytest.raises(InputError, match="must be pooled once, these were pooled before: 4 tokens have 2 rows"):
        pool_tokens(pooled, 2)
    with pytest.raises(InputError, match="at least one token"):
        pool_tokens(record(np.empty((0, 4))), 2)
    with pytest.raises(InputError, match="must be finite"):
        pool_tokens(record([[1, np.nan], [0, 1]]), 2)


def test_without_scipy(monkeypatch):
    """The extra that brings it is named."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-vllm-integrations\[compression\]'"):
        pool_tokens(record(np.eye(4)), 2)


def test_a_page_of_the_encoder():
    """An encoded page is found with a third of its cells' rows, and each token finds the row that it went to."""
    page = Image.new("RGB", (280, 280), "white")
    page.paste("red", (28, 28, 112, 112))
    (tokens,) = JinaEncoder(FakeEngine(), task="retrieval").embed_tokens([page], role="document")
    pooled = pool_tokens(tokens, 3)
    assert len(set(pooled.row_of_token[tokens.image_mask])) <= math.ceil(100 / 3)
    np.testing.assert_allclose(score(tokens, [pooled]), score(tokens, [tokens]), rtol=0.05)
    found = pooled.vectors[align(tokens, pooled).rows]
    np.testing.assert_allclose(found, pooled.vectors[pooled.row_of_token], **CLOSE)
