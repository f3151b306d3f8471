"""A text and an image together, as the query of a reranker."""

from __future__ import annotations

import asyncio

import pytest

from jina_vllm_integrations import (
    EmptyTextError,
    ImageFormatError,
    ImageInput,
    ImageNotFoundError,
    ItemTypeError,
    LateInteractionReranker,
    TextImageQuery,
)
from pictures import picture, png

TEXT = "where is the red circle"
IMAGE = png("red", (200, 150))
PAIR = TextImageQuery(TEXT, IMAGE)
CANDIDATES = ["ein blaues Quadrat", picture("red"), "the red circle is here", picture("blue", (200, 150))]
CHECKED_LATE = png("red")[:60]  # a header, and pixels that cannot be decoded


@pytest.fixture(params=["sync", "async"])
def rerank(request):
    """Return what reranks in both ways."""
    if request.param == "sync":
        return lambda reranker, *given, **options: reranker.rerank(*given, **options)
    return lambda reranker, *given, **options: asyncio.run(reranker.arerank(*given, **options))


def scores(ranked):
    """Return the scores in the order of the candidates."""
    return [each.score for each in sorted(ranked, key=lambda each: each.index)]


def test_the_score_is_the_mean_of_both_halves(encoder, rerank):
    """However many tokens each has; the sum is that times the number of tokens of both."""
    reranker = LateInteractionReranker(encoder, normalize="mean")
    text, image, both = (scores(rerank(reranker, query, CANDIDATES)) for query in (TEXT, IMAGE, PAIR))
    assert both == pytest.approx([(one + other) / 2 for one, other in zip(text, image, strict=True)], abs=1e-5)
    n_tokens = sum(len(each.vectors) for each in encoder.embed_tokens([TEXT, IMAGE], role="query"))
    sums = scores(rerank(LateInteractionReranker(encoder), PAIR, CANDIDATES))
    assert sums == pytest.approx([n_tokens * score for score in both], rel=1e-4)


def test_both_halves_are_computed_at_once(encoder, engine, token_store, rerank):
    """In one call of the engine, which is all that stored candidates leave to do."""
    reranker = LateInteractionReranker(encoder, token_store)
    first = rerank(reranker, PAIR, CANDIDATES)
    assert engine.batches == [2 + len(CANDIDATES)]
    engine.batches.clear()
    assert scores(rerank(reranker, PAIR, CANDIDATES)) == scores(first)
    assert engine.batches == [2]
    assert len(rerank(reranker, PAIR, [])) == 0


@pytest.mark.parametrize("image", ["path", "ImageInput", "PIL"])
def test_an_image_in_each_form(encoder, tmp_path, image, rerank):
    """Here a bare string is a path."""
    path = tmp_path / "red.png"
    path.write_bytes(IMAGE)
    given = {"path": str(path), "ImageInput": ImageInput(path), "PIL": picture("red", (200, 150))}[image]
    reranker = LateInteractionReranker(encoder)
    assert scores(rerank(reranker, TextImageQuery(TEXT, given), CANDIDATES)) == scores(
        rerank(reranker, PAIR, CANDIDATES)
    )


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize(
    ("query", "error", "half"),
    [
        (TextImageQuery(" ", IMAGE), EmptyTextError, "text"),
        (TextImageQuery(7, IMAGE), ItemTypeError, "text"),
        (TextImageQuery(TEXT, "nowhere.png"), ImageNotFoundError, "image"),
        (TextImageQuery(TEXT, 7), ItemTypeError, "image"),
        (TextImageQuery(TEXT, CHECKED_LATE), ImageFormatError, "image"),
    ],
    ids=["empty", "no text", "missing", "no image", "damaged"],
)
def test_a_bad_half(encoder, rerank, query, error, half, on_error):
    """The error says which it is, once, and blames no candidate."""
    with pytest.raises(error, match=rf"^the query's {half}: (?!the query's)") as caught:
        rerank(LateInteractionReranker(encoder), query, CANDIDATES, on_error=on_error)
    assert caught.value.index is None


def test_a_bad_candidate_after_such_a_query(encoder, rerank):
    """Keeps its own position."""
    with pytest.raises(EmptyTextError) as caught:
        rerank(LateInteractionReranker(encoder), PAIR, ["a", ""])
    assert caught.value.index == 1
    (skipped,) = rerank(LateInteractionReranker(encoder), PAIR, ["a", CHECKED_LATE], on_error="skip").skipped
    assert skipped.index == 1


def test_it_is_no_item(encoder):
    """What is embedded is a text or an image; the error says what to pass."""
    with pytest.raises(ItemTypeError, match="got a TextImageQuery, which is searched or ranked by"):
        encoder.embed([PAIR], role="query")
