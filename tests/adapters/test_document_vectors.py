"""Documents on their way into an index of two stages."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fake_engines import RecordingEngine
from jina_vllm_integrations import EmptyTextError, ImageInput, InputError, JinaEncoder, OptionError, TokenStore
from jina_vllm_integrations.adapters.document_vectors import DocumentVectors, lots_of
from pictures import encoded, noise

BAD = {1: "  ", 3: ImageInput("missing.png"), 5: encoded(noise(90, 60))[:-900], 7: "the spoilt one", 64: "", 127: 3}


@pytest.fixture
def encoder():
    """Return an encoder whose engine spoils the vectors of one text."""
    engine = RecordingEngine()
    engine.spoilt = "the spoilt one"
    return JinaEncoder(engine, task="retrieval")


def documents(bad):
    """Return two lots of texts and a bit, some of them bad."""
    return [bad.get(position, f"text {position}") for position in range(130)]


def computed(vectors, items, colour):
    """Return the positions and vectors of all lots."""
    lots = lots_of(len(items))
    if colour == "synchronous":
        return list(vectors.compute(items, lots))

    async def every():
        return [each async for each in vectors.acompute(items, lots)]

    return asyncio.run(every())


@pytest.mark.parametrize("colour", ["synchronous", "asynchronous"])
def test_bad_documents_are_left_out_by_their_names(encoder, tmp_path, caplog, colour):
    """Whatever shows that one is bad, its text, its file, its pixels or its vectors; the others keep their places."""
    names = [f"page {position}" for position in range(130)]
    with TokenStore(tmp_path) as store:
        vectors = DocumentVectors(encoder, store, on_error="skip", names=names)
        lots = computed(vectors, documents(BAD), colour)
        assert sorted((each.index, each.name) for each in vectors.skipped) == [(at, f"page {at}") for at in BAD]
        good = [position for positions, _ in lots for position in positions]
        assert good == [position for position in range(130) if position not in BAD]
        texts = [f"text {position}" for position in good]
        expected = encoder.embed(texts, role="document")
        np.testing.assert_allclose(np.concatenate([dense for _, dense in lots]), expected, rtol=0, atol=1e-6)
        assert None not in store.find(encoder, texts)
    assert caplog.text.count("skipped page ") == len(BAD)


@pytest.mark.parametrize("colour", ["synchronous", "asynchronous"])
def test_a_lot_of_bad_documents_is_passed_over(encoder, colour):
    """Many stores refuse to write nothing."""
    vectors = DocumentVectors(encoder, None, on_error="skip")
    assert computed(vectors, [" ", InputError("page 2 is damaged.")], colour) == []
    assert [each.name for each in vectors.skipped] == ["item 0", "item 1"]


@pytest.mark.parametrize("colour", ["synchronous", "asynchronous"])
def test_a_bad_document_stops_all_before_any_is_computed(encoder, colour):
    """Unless it was to be skipped, or only its pixels or vectors show it."""
    with pytest.raises(EmptyTextError, match="item 64"):
        computed(DocumentVectors(encoder, None), documents({64: ""}), colour)
    assert encoder.engine.n_requests == 0
    with pytest.raises(OptionError, match="on_error must be one of"):
        DocumentVectors(encoder, None, on_error="last")
