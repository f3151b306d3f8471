"""Filling a store ahead of its use."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations import ImageInput, InputError, JinaEncoder, OptionError, TokenStore
from jina_vllm_integrations.testing import FakeEngine
from kept_vectors import ITEMS, assert_same, keys_of
from pictures import encoded


def test_warming_computes_what_is_missing(store, encoder):
    """The second time nothing is computed, and repetitions are computed once."""
    warmed = store.warm(encoder, [*ITEMS, ITEMS[0], encoded(ITEMS[1], "PNG")])
    assert (warmed.n_encoded, warmed.n_stored) == (4, 2)
    assert encoder.engine.n_requests == 4
    warmed = store.warm(encoder, iter([*ITEMS, "new"]))
    assert (warmed.n_encoded, warmed.n_stored) == (1, 4)
    assert encoder.engine.n_requests == 5
    expected = encoder.embed_tokens(ITEMS, role="document")
    for found, tokens in zip(store.get_many(keys_of(store, encoder, ITEMS)), expected, strict=True):
        assert_same(found, store.as_kept(tokens))


def test_warming_keeps_what_came_before_a_bad_item(store, encoder):
    """The error names the item in the caller's order, what came before is kept, and the next run goes on there."""
    texts = [f"text {number}" for number in range(100)]
    store.warm(encoder, texts[:50])
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"), "PNG")[:-900]
    for bad in ("  ", cut, ImageInput("missing.png")):
        with pytest.raises(InputError) as caught:
            store.warm(encoder, [*texts, bad, "after", "  "])
        assert caught.value.index == 100
    assert encoder.engine.n_requests >= 100
    assert None not in store.get_many(keys_of(store, encoder, texts))
    warmed = store.warm(encoder, texts)
    assert (warmed.n_encoded, warmed.n_stored) == (0, 100)


def test_warming_keeps_what_came_before_vectors_that_are_not_finite(store, encoder, monkeypatch):
    """Of the lot that is written together as well."""
    compute = FakeEngine._compute

    def spoilt(engine, request):
        embedding = compute(engine, request)
        if len(request.prompt.token_ids) == len("Passage: the spoilt one"):
            embedding.tokens.vectors[0, 0] = np.nan
        return embedding

    monkeypatch.setattr(FakeEngine, "_compute", spoilt)
    texts = [f"text {number}" for number in range(20)]
    with pytest.raises(InputError, match="item 20: token vectors must be finite"):
        store.warm(encoder, [*texts, "the spoilt one", "after"])
    assert None not in store.find(encoder, texts)


def test_warming_passes_on_the_iterables_own_error(store, encoder):
    """It comes after what the iterable gave before it was kept."""

    def items():
        yield from ("one", "two")
        raise ConnectionError("the list broke off")

    with pytest.raises(ConnectionError, match="the list broke off"):
        store.warm(encoder, items())
    assert None not in store.get_many(keys_of(store, encoder, ["one", "two"]))


def test_warming_shows_progress(store, encoder, capsys):
    """A bar counts all items, on request."""
    store.warm(encoder, ["one", "two"])
    assert capsys.readouterr().err == ""
    store.warm(encoder, ["one", "two", "three"], progress=True)
    assert "storing: 100%" in capsys.readouterr().err


def test_warming_takes_several_items(store, encoder):
    """One text is not an iterable of letters."""
    with pytest.raises(InputError, match="items must be an iterable of texts and images, got one str"):
        store.warm(encoder, "a text")


def test_warming_with_vllm(tmp_path, vllm_engine):
    """What is kept of the real engine's vectors is what it computes, rounded."""
    encoder = JinaEncoder(vllm_engine, task="retrieval")
    with TokenStore(tmp_path) as store:
        warmed = store.warm(encoder, ITEMS)
        assert warmed.n_encoded == 4
        expected = encoder.embed_tokens(ITEMS, role="document")
        for found, tokens in zip(store.get_many(keys_of(store, encoder, ITEMS)), expected, strict=True):
            np.testing.assert_allclose(found.vectors, tokens.vectors, rtol=0, atol=1e-3)
            np.testing.assert_array_equal(found.token_ids, tokens.token_ids)
            np.testing.assert_array_equal(found.image_mask, tokens.image_mask)
            assert found.grid == tokens.grid


def test_warming_skips_bad_items_and_says_so(store, encoder, monkeypatch, caplog):
    """Repetitions of a bad one as well; every item is counted, and the next run finds the good ones stored."""
    spoilt = "the spoilt one"
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"), "PNG")[:-900]
    encoder.engine.spoilt = spoilt
    items = ["a", "  ", spoilt, "b", spoilt, ImageInput("missing.png"), "a", cut, *(f"text {n}" for n in range(40))]
    warmed = store.warm(encoder, iter(items), on_error="skip")
    assert [each.index for each in warmed.skipped] == [1, 2, 4, 5, 7]
    assert [each.error.index for each in warmed.skipped] == [1, 2, 4, 5, 7]
    assert (warmed.n_encoded, warmed.n_stored) == (42, 1)
    assert [record.message[: len("skipped item 1")] for record in caplog.records] == [
        f"skipped {each.name}" for each in sorted(warmed.skipped, key=lambda each: caplog.text.index(each.name))
    ]
    good = [item for index, item in enumerate(items) if index not in {1, 2, 4, 5, 7}]
    assert None not in store.get_many(keys_of(store, encoder, good))
    again = store.warm(encoder, items, on_error="skip")
    assert (again.n_encoded, again.n_stored, len(again.skipped)) == (0, 43, 5)


def test_warming_takes_one_of_two_choices(store, encoder):
    """Before anything is read."""
    with pytest.raises(OptionError, match="on_error must be one of 'raise', 'skip', got 'ignore'"):
        store.warm(encoder, iter(["a"]), on_error="ignore")
    assert len(store) == 0
