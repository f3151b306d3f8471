"""The garbage collector, which would hold a stream up, and is as it was when no vLLM is up."""

from __future__ import annotations

import gc

import pytest

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.engines.garbage import CollectorThreshold

DEFAULT = (700, 10, 10)
HELD_UP = (50_000, 10, 10)


@pytest.fixture
def threshold():
    """Return one that nobody holds up, and Python's default meanwhile."""
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULT)
    yield CollectorThreshold()
    gc.set_threshold(*before)


def test_held_up_by_two(threshold):
    """It falls with the last one."""
    threshold.hold_up("one")
    threshold.hold_up("another")
    assert gc.get_threshold() == HELD_UP
    threshold.let_go("one")
    assert gc.get_threshold() == HELD_UP
    threshold.let_go("another")
    assert gc.get_threshold() == DEFAULT


@pytest.mark.parametrize("chosen", [(100_000, 5, 5), (0, 10, 10)])
def test_what_an_application_chose_stays(threshold, chosen):
    """It is higher already, or the collector turned off."""
    gc.set_threshold(*chosen)
    threshold.hold_up("one")
    assert gc.get_threshold() == chosen
    threshold.let_go("one")
    assert gc.get_threshold() == chosen


def test_what_was_lower_comes_back(threshold):
    """An application's own, as well as Python's default."""
    gc.set_threshold(10_000, 5, 5)
    threshold.hold_up("one")
    assert gc.get_threshold() == (50_000, 5, 5)
    threshold.let_go("one")
    assert gc.get_threshold() == (10_000, 5, 5)


def test_what_an_application_chooses_meanwhile_stays(threshold):
    """Whoever sets it last knows best."""
    threshold.hold_up("one")
    gc.set_threshold(1000, 20, 20)
    threshold.let_go("one")
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
