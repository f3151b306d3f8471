"""MaxSim: exact, each document by itself, whatever it is kept in and whoever else computes it."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jina_vllm_integrations import Hit, TokenVectors
from jina_vllm_integrations.errors import InputError, OptionError
from jina_vllm_integrations.scoring import align, cuda, pack, score, score_many, top_k
from jina_vllm_integrations.scoring.quantization import dequantize, quantize

DTYPES = ("float32", "float16", "int8")
# A score adds up as many rounding errors as the query has tokens.
CLOSE = {"rtol": 0, "atol": 1e-5}


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


def kept(document, dtype):
    """Return a document's record in a dtype, as a store gives it back."""
    rows, scales = quantize(document, dtype)
    n_tokens = len(document)
    return TokenVectors(
        vectors=rows,
        token_ids=np.arange(n_tokens),
        image_mask=np.zeros(n_tokens, dtype=bool),
        grid=None,
        scales=scales,
    )


QUERY = vectors(9, 128)
DOCUMENTS = [vectors(n_tokens, 128, seed=n_tokens) for n_tokens in (1, 40, 3, 700, 17)]


@st.composite
def searches(draw):
    """Draw a query and documents of any lengths and widths, of small whole numbers: many ties, nothing rounded."""
    dim = draw(st.sampled_from([1, 20, 128]))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    query, *documents = (
        rng.integers(-3, 4, (length, dim)).astype(np.float32) for length in (draw(st.integers(1, 9)), *lengths)
    )
    return query, documents


@given(searches())
def test_scores_are_those_of_a_plain_loop(search):
    """Any lengths, in a list and packed: the sum of the best inner products."""
    query, documents = search
    expected = [max_sim(query, document) for document in documents]
    assert score(query, documents).tolist() == expected
    assert score(query, pack(documents)).tolist() == expected
    means = score(query, documents, normalize="mean")
    np.testing.assert_allclose(means, np.array(expected) / len(query), rtol=1e-6)


@given(searches(), st.randoms())
def test_permuted_documents_have_permuted_scores(search, random):
    """Each score goes with its document."""
    query, documents = search
    order = random.sample(range(len(documents)), len(documents))
    scores = score(query, documents)
    assert score(query, [documents[index] for index in order]).tolist() == scores[order].tolist()


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(1, 30), st.sampled_from(DTYPES))
def test_a_score_does_not_depend_on_the_neighbours(lengths, n_tokens, dtype):
    """Alone, in a list, or packed beside longer documents, a document has the same score to the last bit."""
    query = vectors(n_tokens, 128)
    documents = [kept(vectors(length, 128, seed=length), dtype) for length in lengths]
    alone = [score(query, [document])[0] for document in documents]
    assert score(query, documents).tolist() == alone
    assert score(query, pack(documents)).tolist() == alone
    others = [vectors(3, 128, seed=1), query, vectors(70, 128, seed=2)]
    assert score_many(others, pack(documents))[1].tolist() == alone


def test_nor_on_the_number_of_threads(monkeypatch):
    """One core or sixteen: the same bits, and every document is scored."""
    documents = [vectors(1 + 37 * n % 900, 128, seed=n) for n in range(120)]
    query = vectors(64, 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1))
    expected = score(query, documents)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    np.testing.assert_array_equal(score(query, documents), expected)
    np.testing.assert_array_equal(score(query, pack(documents)), expected)
    np.testing.assert_allclose(expected, [max_sim(query, document) for document in documents], **CLOSE)


@given(searches(), st.data())
def test_duplicates_tie_and_ties_keep_their_order(search, data):
    """Equal documents have equal scores, and the earlier one is found first."""
    query, documents = search
    documents = [documents[data.draw(st.integers(0, len(documents) - 1))] for _ in range(12)]
    scores = score(query, documents)
    hits = top_k(query, documents, 12)
    assert [hit.score for hit in hits] == sorted(scores.tolist(), reverse=True)
    for one, other in itertools.pairwise(hits):
        assert one.score > other.score or one.index < other.index


def test_equal_pages_tie_to_the_last_bit():
    """Copies among pages of other lengths, in unrounded numbers."""
    page = vectors(700, 128)
    pages = [page, vectors(333, 128, seed=1), page.copy(), vectors(2, 128, seed=2), page[:]]
    scores = score(QUERY, pages)
    assert scores[0] == scores[2] == scores[4]
    assert [hit.index for hit in top_k(QUERY, pages, 5) if hit.score == scores[0]] == [0, 2, 4]


def test_negative_similarities_stay_negative():
    """Where no token fits, the least bad one counts, beside a longer document as well: nothing is lifted to zero."""
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    document = np.array([[-1, -0.25], [-0.5, -1]], dtype=np.float32)
    longer = np.repeat(-query, 5, axis=0)
    assert score(query, [document, longer]).tolist() == [-0.75, 0]
    assert score(query, pack([document, longer])).tolist() == [-0.75, 0]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 5e-4), ("int8", 5e-3)])
def test_fewer_bytes_are_nearly_the_same(dtype, tolerance):
    """A float16 or int8 document has the score of its rounded vectors, which is close to the exact one."""
    smaller = [kept(document, dtype) for document in DOCUMENTS]
    scores = score(QUERY, smaller)
    rounded = [max_sim(QUERY, dequantize(document.vectors, document.scales)) for document in smaller]
    np.testing.assert_allclose(scores, rounded, **CLOSE)
    np.testing.assert_allclose(scores, score(QUERY, DOCUMENTS), rtol=0, atol=tolerance * len(QUERY))


def test_every_float16_is_read_as_it_is():
    """All finite numbers of the format, the subnormal ones too, with either sign."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    scores = score(np.ones((1, 1), dtype=np.float32), finite[:, None, None])
    np.testing.assert_array_equal(scores, finite.astype(np.float32))


def test_rows_of_zeros_survive_int8():
    """A row without direction has no scale and stays zero."""
    rows, scales = quantize(np.zeros((2, 8), dtype=np.float32), "int8")
    assert not dequantize(rows, scales).any()
    assert score(vectors(1, 8), [kept(np.zeros((2, 8), dtype=np.float32), "int8")]).tolist() == [0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_packing_keeps_the_scores(dtype):
    """Packed in a dtype, documents score as those that were in it already, in a known number of bytes."""
    packed = pack(DOCUMENTS, dtype=dtype)
    smaller = [kept(document, dtype) for document in DOCUMENTS]
    np.testing.assert_array_equal(score(QUERY, packed), score(QUERY, smaller))
    np.testing.assert_array_equal(packed.vectors, pack(smaller).vectors)
    n_rows = sum(map(len, DOCUMENTS))
    scales = 4 * n_rows if dtype == "int8" else 0
    assert packed.nbytes == n_rows * 128 * np.dtype(dtype).itemsize + scales + 8 * 6
    assert len(packed) == 5


def test_many_queries_are_scored_at_once():
    """One row a query, whatever their lengths; the mean is taken over each query's own tokens."""
    queries = [vectors(n_tokens, 128, seed=99 + n_tokens) for n_tokens in (1, 4, 30, 7)]
    for normalize in ("sum", "mean"):
        scores = score_many(queries, DOCUMENTS, normalize=normalize)
        assert (scores.shape, scores.dtype) == ((4, 5), np.float32)
        for row, query in zip(scores, queries, strict=True):
            np.testing.assert_array_equal(row, score(query, DOCUMENTS, normalize=normalize))


def test_the_best_are_found():
    """As many as were asked for or are there, the best first."""
    scores = score(QUERY, DOCUMENTS)
    order = sorted(range(5), key=lambda index: -scores[index])
    assert top_k(QUERY, DOCUMENTS, 2) == [Hit(index=index, score=float(scores[index])) for index in order[:2]]
    assert [hit.index for hit in top_k(QUERY, pack(DOCUMENTS), 99)] == order
    assert top_k(QUERY, [], 3) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_alignment_says_which_row_won(dtype):
    """Each token's winner is the row with the greatest inner product, and the similarities sum to the score."""
    document = kept(DOCUMENTS[3], dtype)
    similarities = QUERY @ dequantize(document.vectors, document.scales).T
    alignment = align(QUERY, document)
    np.testing.assert_array_equal(alignment.rows, similarities.argmax(axis=1))
    np.testing.assert_allclose(alignment.similarities, similarities.max(axis=1), **CLOSE)
    np.testing.assert_allclose(alignment.similarities.sum(), score(QUERY, [document])[0], **CLOSE)


def test_of_equal_rows_the_first_wins():
    """Alignment is deterministic."""
    document = np.repeat(vectors(2, 128), 3, axis=0)
    assert set(align(document, document).rows.tolist()) == {0, 3}


def test_a_record_scores_as_its_rows():
    """`TokenVectors` and bare arrays are one."""
    record = kept(QUERY, "float32")
    np.testing.assert_array_equal(score(record, [record]), score(QUERY, [QUERY]))


def test_arrays_are_not_changed_and_may_be_read_only():
    """What is scored can be scored again; views with gaps and read-only arrays are as good as others."""
    query, document = QUERY.copy(), DOCUMENTS[1].copy()
    document.flags.writeable = False
    wide = np.repeat(document, 2, axis=1)
    assert score(query, [document, wide[:, ::2]]).tolist() == [score(QUERY, DOCUMENTS[1:2])[0]] * 2
    np.testing.assert_array_equal(query, QUERY)
    np.testing.assert_array_equal(document, DOCUMENTS[1])


def test_documents_may_come_from_anywhere():
    """A generator is as good as a list; one document is not several."""
    np.testing.assert_array_equal(score(QUERY, iter(DOCUMENTS)), score(QUERY, DOCUMENTS))
    np.testing.assert_array_equal(pack(iter(DOCUMENTS)).vectors, pack(DOCUMENTS).vectors)
    for one in (kept(QUERY, "float32"), None):
        with pytest.raises(InputError, match="documents must be an iterable of token vectors, or packed, got one"):
            score(QUERY, one)


def test_scales_that_do_not_fit():
    """Kernels read by address: what does not fit is refused, and gaps are closed."""
    document = kept(DOCUMENTS[3], "int8")
    every_second = replace(document, vectors=document.vectors[::2], scales=document.scales[::2])
    expected = max_sim(QUERY, dequantize(document.vectors, document.scales)[::2])
    np.testing.assert_allclose(score(QUERY, [every_second]), [expected], **CLOSE)
    double = replace(document, scales=document.scales.astype(np.float64))
    np.testing.assert_array_equal(score(QUERY, [double]), score(QUERY, [document]))
    for wrong in (
        replace(document, scales=document.scales[:1]),
        replace(kept(DOCUMENTS[3], "float32"), scales=document.scales),
    ):
        for compute in (lambda: score(QUERY, [wrong]), lambda: align(QUERY, wrong), lambda: pack([wrong])):  # noqa: B023
            with pytest.raises(InputError, match="int8 rows, and no others, must have one scale each"):
                compute()


@pytest.mark.parametrize(
    "change",
    [
        lambda packed: {"vectors": packed.vectors[:, :64]},
        lambda packed: {"vectors": packed.vectors[:-1]},
        lambda packed: {"vectors": packed.vectors.astype(np.float64)},
        lambda packed: {"offsets": packed.offsets + 1},
        lambda packed: {"offsets": packed.offsets.astype(np.int32)},
        lambda packed: {"offsets": packed.offsets[::-1]},
        lambda packed: {"scales": None},
        lambda packed: {"scales": packed.scales[::2]},
    ],
)
def test_packed_vectors_that_do_not_fit(change):
    """They cannot be made, because nothing looks at them later."""
    packed = pack(DOCUMENTS, dtype="int8")
    with pytest.raises(InputError, match=r"packed vectors must be C-contiguous .* Make them with pack\(\)"):
        replace(packed, **change(packed))


def test_no_documents_and_no_queries():
    """Nothing to score gives no score."""
    for documents in ([], pack([])):
        scores = score(QUERY, documents)
        assert (scores.shape, scores.dtype) == ((0,), np.float32)
    assert score_many([], DOCUMENTS).shape == (0, 5)
    assert score_many([], []).shape == (0, 0)


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


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_document_that_is_not_finite_is_named(dtype, value):
    """NaN and infinity in one component of one row are found, in a list, in packing and in alignment."""
    wrong = DOCUMENTS[3].astype(dtype)
    wrong[321, 5] = value
    documents = [DOCUMENTS[1].astype(dtype), wrong, DOCUMENTS[0].astype(dtype)]
    for compute in (
        lambda: score(QUERY, documents),
        lambda: top_k(QUERY, documents, 1),
        lambda: pack(documents),
        lambda: score_many([QUERY, QUERY], documents),
    ):
        with pytest.raises(InputError, match="item 1: a document's token vectors must be finite"):
            compute()
    with pytest.raises(InputError, match="must be finite"):
        align(QUERY, wrong)


def test_mixed_dtypes_are_named():
    """All documents of a search are kept in one way."""
    mixed = [DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[2].astype(np.float16)]
    for compute in (lambda: score(QUERY, mixed), lambda: pack(mixed)):
        with pytest.raises(InputError, match="item 2: all documents must be of one dtype, the first is float32"):
            compute()


@pytest.mark.parametrize(
    "wrong", [DOCUMENTS[1].astype(np.float64), DOCUMENTS[1].astype(np.int8), DOCUMENTS[1].astype(">f4")]
)
def test_other_dtypes_are_named(wrong):
    """float64, bare int8 without scales, and foreign byte order are not guessed at."""
    with pytest.raises(InputError, match="item 1: a document's token vectors must be float32, float16, or Token"):
        score(QUERY, [DOCUMENTS[0], wrong])


@pytest.mark.parametrize("wrong", [vectors(0, 128), vectors(5, 0), vectors(128), vectors(1, 5, 128)])
def test_a_query_that_cannot_be_scored_is_told(wrong):
    """A query has no position, also where there is no document."""
    with pytest.raises(InputError, match="a query's token vectors must have the shape") as caught:
        score(wrong, [])
    assert caught.value.index is None
    assert f"got {wrong.shape}" in str(caught.value)


def test_a_query_of_wrong_numbers_is_told():
    """Not finite, of another dtype, or of another width than its neighbours and the packed documents."""
    wrong = QUERY.copy()
    wrong[3, 3] = np.nan
    with pytest.raises(InputError, match="a query's token vectors must be finite"):
        score(wrong, DOCUMENTS)
    with pytest.raises(InputError, match="a query's token vectors must be float32 or float16, got float64"):
        score(QUERY.astype(np.float64), DOCUMENTS)
    with pytest.raises(InputError, match=r"all queries must be of one width, got \[64, 128\]"):
        score_many([QUERY, vectors(3, 64)], DOCUMENTS)
    with pytest.raises(InputError, match="a query must be as wide as the packed documents, 128, got 64"):
        score(vectors(3, 64), pack(DOCUMENTS))


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_k_is_a_count(k):
    """Nothing is guessed from a wrong number."""
    with pytest.raises(OptionError, match="k must be a whole number from 1"):
        top_k(QUERY, DOCUMENTS, k)


def test_unknown_choices_are_told():
    """A normalisation or dtype that does not exist."""
    with pytest.raises(OptionError, match="normalize must be one of 'sum', 'mean', got 'max'"):
        score(QUERY, DOCUMENTS, normalize="max")
    with pytest.raises(OptionError, match="dtype must be one of 'float32', 'float16', 'int8', got 'bfloat16'"):
        pack(DOCUMENTS, dtype="bfloat16")


@settings(max_examples=20)
@given(searches())
def test_sentence_transformers_agrees(search):
    """The MaxSim of sentence-transformers' `MultiVectorEncoder`, which masks its padding."""
    from sentence_transformers.util import maxsim

    query, documents = search
    theirs = maxsim([torch.from_numpy(query)], [torch.from_numpy(document) for document in documents])
    np.testing.assert_allclose(score(query, documents), theirs[0].numpy(), **CLOSE)


def test_vllm_agrees():
    """The MaxSim that vLLM's own reranking computes."""
    from vllm.v1.pool.late_interaction import compute_maxsim_score_batched

    queries = [torch.from_numpy(QUERY)] * len(DOCUMENTS)
    theirs = compute_maxsim_score_batched(queries, [torch.from_numpy(document) for document in DOCUMENTS])
    np.testing.assert_allclose(score(QUERY, DOCUMENTS), [float(each) for each in theirs], **CLOSE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_agrees(dtype, monkeypatch):
    """What runs on a GPU gives the same scores, in blocks of few documents; without one, torch shows it in float32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and dtype != "float32":
        pytest.skip("torch multiplies float16 into float32 on GPUs only")
    monkeypatch.setattr(cuda, "_PRODUCTS", 9 * 50)
    packed = pack(DOCUMENTS, dtype=dtype)
    searched = packed.to_cuda(device)
    np.testing.assert_allclose(score(QUERY, searched), score(QUERY, packed), **CLOSE)
    several = [QUERY, QUERY[:2]]
    np.testing.assert_allclose(score_many(several, searched), score_many(several, packed), **CLOSE)
    assert [hit.index for hit in top_k(QUERY, searched, 3)] == [hit.index for hit in top_k(QUERY, packed, 3)]
    assert score(QUERY, pack([]).to_cuda(device)).shape == (0,)
    with pytest.raises(InputError, match="a query must be as wide as the packed documents, 128, got 64"):
        score(vectors(3, 64), searched)
