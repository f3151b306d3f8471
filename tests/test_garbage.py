"""The garbage collector, which would hold a stream up, and is as it was when no vLLM is up."""

from __future__ import annotations

import gc

import pytest

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.engines.garbage import Patience

DEFAULT = (700, 10, 10)
PATIENT = (50_000, 10, 10)


@pytest.fixture
def patience():
    """Return one of its own, and Python's default thresholds meanwhile."""
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULT)
    yield Patience()
    gc.set_threshold(*before)


def test_held_by_two(patience):
    """The last one who gives it back restores what was."""
    patience.take()
    patience.take()
    assert gc.get_threshold() == PATIENT
    patience.give_back()
    assert gc.get_threshold() == PATIENT
    patience.give_back()
    assert gc.get_threshold() == DEFAULT


@pytest.mark.parametrize("chosen", [(100_000, 5, 5), (0, 10, 10)])
def test_what_an_application_chose_stays(patience, chosen):
    """It has more patience already, or has turned the collector off."""
    gc.set_threshold(*chosen)
    patience.take()
    assert gc.get_threshold() == chosen
    patience.give_back()
    assert gc.get_threshold() == chosen


def test_what_an_application_chooses_meanwhile_stays(patience):
    """Whoever sets it last knows best."""
    patience.take()
    gc.set_threshold(1000, 20, 20)
    patience.give_back()
    assert gc.get_threshold() == (1000, 20, 20)


def test_a_stream_is_not_searched_for_garbage(make_vllm_engine):
    """Requests in flight do not grow old, which is what a search of all objects would come from."""
    searched = []

    def note(phase, info):
        searched.append(info["generation"])

    with make_vllm_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        encoder.embed(["the first one"], role="document")
        gc.collect()
        gc.callbacks.append(note)
        try:
            for _ in encoder.stream((f"text {number}" for number in range(1000)), role="document"):
                pass
        finally:
            gc.callbacks.remove(note)
    assert [generation for generation in searched if generation] == []
