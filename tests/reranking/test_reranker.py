"""The reranker: the right order, nothing computed twice, every error about the caller's own candidate."""

from __future__ import annotations

import asyncio
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations import (
    EmptyTextError,
    EngineClosedError,
    ImageError,
    ImageFormatError,
    ImageInput,
    ImageNotFoundError,
    InputError,
    ItemTypeError,
    JinaEncoder,
    LateInteractionReranker,
    OptionError,
    Ranked,
    TokenStore,
)
from jina_vllm_integrations.scoring import score
from pictures import encoded, picture, png

QUERY = "where is the red circle"


CANDIDATES = ["ein blaues Quadrat", picture("red"), "the red circle is here", picture("blue", (200, 150)), "rot"]


@pytest.fixture
def store(tmp_path):
    """Return an open store."""
    with TokenStore(tmp_path / "store") as store:
        yield store


@pytest.fixture(params=["computed", "stored"])
def reranker(request, encoder, store):
    """Return a reranker without and with a store."""
    return LateInteractionReranker(encoder, store if request.param == "stored" else None)


def expected(encoder, query, candidates, store=None):
    """Rank by scoring everything anew."""
    (asked,) = encoder.embed_tokens([query], role="query")
    documents = encoder.embed_tokens(candidates, role="document")
    if store is not None:
        documents = [store.as_kept(document) for document in documents]
    scores = score(asked, documents)
    order = sorted(range(len(candidates)), key=lambda index: -scores[index])
    return [(index, float(scores[index])) for index in order]


def plain(ranked):
    """Return what a ranking says, but for what was stored."""
    return [(each.index, each.score) for each in ranked]


def test_a_query_that_was_computed_before(reranker, encoder, engine):
    """Its token vectors rank as the query does, and it is not computed again."""
    (tokens,) = encoder.embed_tokens([QUERY], role="query")
    ranked = reranker.rerank(QUERY, CANDIDATES)
    engine.batches.clear()
    assert plain(reranker.rerank(tokens, CANDIDATES)) == plain(ranked)
    assert plain(asyncio.run(reranker.arerank(tokens, CANDIDATES))) == plain(ranked)
    assert sum(engine.batches) == (0 if reranker.store else 2 * len(CANDIDATES))
    with pytest.raises(EmptyTextError) as caught:
        reranker.rerank(tokens, ["a", ""])
    assert caught.value.index == 1


@pytest.mark.parametrize("query", [QUERY, picture("blue"), ImageInput(png("red"))], ids=["text", "PIL", "PNG"])
def test_texts_and_images_rank_texts_and_images(reranker, encoder, query):
    """The order and the scores are those of MaxSim, the first time and the second."""
    ranked = reranker.rerank(query, CANDIDATES)
    assert plain(ranked) == expected(encoder, query, CANDIDATES, reranker.store)
    assert plain(reranker.rerank(query, CANDIDATES)) == plain(ranked)
    assert plain(asyncio.run(reranker.arerank(query, CANDIDATES))) == plain(ranked)


def test_only_what_is_missing_is_computed(encoder, engine, store):
    """The query and the misses come in one batch; with everything stored, the query comes alone."""
    reranker = LateInteractionReranker(encoder, store)
    assert {each.stored for each in reranker.rerank(QUERY, CANDIDATES)} == {False}
    assert {each.stored for each in reranker.rerank(QUERY, CANDIDATES[:3])} == {True}
    ranked = reranker.rerank("another query", [*CANDIDATES, "new"])
    assert [each.index for each in ranked if not each.stored] == [5]
    asyncio.run(reranker.arerank(QUERY, [*CANDIDATES, "new"]))
    assert engine.batches == [6, 1, 2, 1]


def test_coroutines_hand_over_a_few_requests_at_a_time(encoder, engine):
    """An event loop with many candidates goes on in between, and candidates may come from anywhere."""
    texts = [f"text {number}" for number in range(60)]
    ranked = asyncio.run(LateInteractionReranker(encoder).arerank(QUERY, iter(texts)))
    assert len(ranked) == 60
    assert max(engine.batches) <= 16


def test_another_form_of_an_image_is_stored(encoder, engine, store, tmp_path):
    """A page that was stored as a PIL image is found as a file."""
    reranker = LateInteractionReranker(encoder, store)
    reranker.rerank(QUERY, [picture("red")])
    (tmp_path / "red.png").write_bytes(png("red"))
    (ranked,) = reranker.rerank(QUERY, [tmp_path / "red.png"])
    assert ranked.stored
    assert engine.batches == [2, 1]


def test_what_was_warmed_is_stored(encoder, engine, store):
    """A store that was filled before ranks without computing candidates."""
    store.warm(encoder, CANDIDATES)
    engine.batches.clear()
    ranked = LateInteractionReranker(encoder, store).rerank(QUERY, CANDIDATES)
    assert all(each.stored for each in ranked)
    assert engine.batches == [1]


def test_equal_candidates_are_computed_once_and_tie(reranker, engine):
    """They keep the caller's order."""
    image = picture("red")
    ranked = reranker.rerank(QUERY, ["rot", image, "rot", encoded(image), encoded(image), "rot"])
    assert engine.batches == [1 + (2 if reranker.store else 3)]
    by_score = {each.score for each in ranked}
    assert len(by_score) == 2
    assert [each.index for each in ranked] in ([0, 2, 5, 1, 3, 4], [1, 3, 4, 0, 2, 5])


def test_top_n(reranker):
    """As many as were asked for, or all there are."""
    ranked = reranker.rerank(QUERY, CANDIDATES)
    second = reranker.rerank(QUERY, CANDIDATES, top_n=2)
    assert plain(second) == plain(ranked[:2])
    assert len(reranker.rerank(QUERY, CANDIDATES, top_n=99)) == 5
    assert isinstance(second[0], Ranked)


def test_no_candidates(reranker, engine):
    """An empty result, and no work."""
    assert reranker.rerank(QUERY, []) == []
    assert asyncio.run(reranker.arerank(QUERY, iter([]))) == []
    assert engine.batches == []


@pytest.mark.parametrize("top_n", [0, -1, 2.5, True, "3"])
def test_a_bad_top_n(reranker, top_n, engine):
    """It is told before anything is computed, also where there is nothing to rank."""
    for candidates in (CANDIDATES, []):
        with pytest.raises(OptionError, match="top_n must be a whole number from 1, got"):
            reranker.rerank(QUERY, candidates, top_n=top_n)
        with pytest.raises(OptionError, match="top_n must be"):
            asyncio.run(reranker.arerank(QUERY, candidates, top_n=top_n))
    assert engine.batches == []


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("  ", EmptyTextError),
        (7, ItemTypeError),
        (Path("missing.png"), ImageNotFoundError),
        (encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900], ImageFormatError),
        (Image.open(io.BytesIO(encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900])), ImageFormatError),
    ],
    ids=["empty", "no item", "no file", "damaged", "damaged PIL image"],
)
def test_a_bad_candidate_is_named(reranker, bad, error):
    """By its own position, whatever was stored, repeated and computed before it; the query has none."""
    reranker.rerank(QUERY, CANDIDATES[:2])
    candidates = [CANDIDATES[0], CANDIDATES[0], "new", bad, "newer"]
    for rank in (reranker.rerank, lambda *given: asyncio.run(reranker.arerank(*given))):
        with pytest.raises(error) as caught:
            rank(QUERY, candidates)
        assert caught.value.index == 3
        with pytest.raises(error) as caught:
            rank(bad, CANDIDATES)
        assert caught.value.index is None


@pytest.mark.parametrize("way", ["sync", "async"])
def test_bad_candidates_can_be_left_out(reranker, encoder, engine, caplog, way):
    """Whatever is wrong with them and whenever that shows, the others are ranked as if they were alone."""
    engine.spoilt = "spoilt text"
    broken = encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900]
    candidates = ["  ", *CANDIDATES, Path("missing.png"), broken, "spoilt text", ImageError("not read."), broken, 7]
    bad = [0, 6, 7, 8, 9, 10, 11]

    def rank(*given):
        ranked = getattr(reranker, "rerank" if way == "sync" else "arerank")(*given, on_error="skip")
        return ranked if way == "sync" else asyncio.run(ranked)

    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "jina_vllm_integrations"):
            ranked = rank(QUERY, candidates)
        assert [(each.index - 1, each.score) for each in ranked] == plain(reranker.rerank(QUERY, CANDIDATES))
        assert [each.index for each in ranked.skipped] == [each.error.index for each in ranked.skipped] == bad
        assert len(caplog.records) == len(bad)
    assert rank(QUERY, ["", 7]) == []
    for query in ("", broken):
        with pytest.raises(InputError) as caught:
            rank(query, CANDIDATES)
        assert caught.value.index is None
    engine.close()
    with pytest.raises(EngineClosedError):
        rank(QUERY, [*candidates, "new"])


def test_vectors_that_are_not_finite_are_named(reranker, engine):
    """An engine's NaN does not become a rank, and is not stored."""
    engine.spoilt = "spoilt text"
    with pytest.raises(InputError, match="token vectors must be finite") as caught:
        reranker.rerank(QUERY, ["rot", "rot", "spoilt text"])
    assert caught.value.index == 2
    engine.spoilt = None
    assert [each.stored for each in reranker.rerank(QUERY, ["spoilt text"])] == [False]


def test_one_candidate_is_not_several(reranker):
    """A text is no list of letters."""
    with pytest.raises(ItemTypeError, match="items must be an iterable of texts and images, got one str"):
        reranker.rerank(QUERY, "a text")


def test_a_mean_is_comparable_across_queries(encoder):
    """It is the sum over the number of the query's tokens, and at most one."""
    (asked,) = encoder.embed_tokens([QUERY], role="query")
    sums = LateInteractionReranker(encoder).rerank(QUERY, CANDIDATES)
    means = LateInteractionReranker(encoder, normalize="mean").rerank(QUERY, CANDIDATES)
    assert [each.index for each in means] == [each.index for each in sums]
    np.testing.assert_allclose([each.score * len(asked.vectors) for each in means], [each.score for each in sums], 1e-6)
    with pytest.raises(OptionError, match="normalize must be one of 'sum', 'mean', got 'max'"):
        LateInteractionReranker(encoder, normalize="max")


def test_a_reader_ranks_as_the_writer(encoder, tmp_path):
    """A process that may not write computes what is missing, and rounds it as the store would."""
    with TokenStore(tmp_path, dtype="int8") as store:
        ranked = LateInteractionReranker(encoder, store).rerank(QUERY, CANDIDATES[:3])
    with TokenStore(tmp_path, dtype="int8", readonly=True) as store:
        reranker = LateInteractionReranker(encoder, store)
        assert plain(reranker.rerank(QUERY, CANDIDATES[:3])) == plain(ranked)
        again = reranker.rerank(QUERY, CANDIDATES)
        assert [each.stored for each in sorted(again, key=lambda each: each.index)] == [True] * 3 + [False] * 2
        assert plain(again) == expected(encoder, QUERY, CANDIDATES, store)


def test_pooled_and_small_vectors_rank(encoder, tmp_path):
    """A store that pools and rounds gives the scores of what it keeps."""
    with TokenStore(tmp_path, dtype="int8", pool_factor=2) as store:
        reranker = LateInteractionReranker(encoder, store)
        for _ in range(2):
            assert plain(reranker.rerank(QUERY, CANDIDATES)) == expected(encoder, QUERY, CANDIDATES, store)


def test_many_threads_and_coroutines_share_a_reranker(reranker):
    """All get what one alone gets."""
    alone = plain(reranker.rerank(QUERY, CANDIDATES))

    async def coroutines():
        return await asyncio.gather(*(reranker.arerank(QUERY, CANDIDATES) for _ in range(10)))

    with ThreadPoolExecutor(8) as executor:
        threads = list(executor.map(lambda _: reranker.rerank(QUERY, CANDIDATES), range(20)))
    for ranked in [*threads, *asyncio.run(coroutines())]:
        assert plain(ranked) == alone


def test_reranking_with_vllm(vllm_engine, tmp_path):
    """The real engine's query and misses share a batch, and the order is that of its own vectors."""
    encoder = JinaEncoder(vllm_engine, task="retrieval")
    with TokenStore(tmp_path) as store:
        reranker = LateInteractionReranker(encoder, store)
        first = reranker.rerank(QUERY, CANDIDATES)
        again = reranker.rerank(QUERY, CANDIDATES)
        assert [each.index for each in first] == [index for index, _ in expected(encoder, QUERY, CANDIDATES, store)]
    assert [each.index for each in again] == [each.index for each in first]
    np.testing.assert_allclose([each.score for each in again], [each.score for each in first], atol=1e-4)
    assert {each.stored for each in first} == {False}
    assert {each.stored for each in again} == {True}
