"""What adapters stand on: nothing happens before the first use, and nobody's engine is closed by another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import CheckpointError, EngineClosedError, OptionError
from jina_vllm_integrations.adapters.lazy_encoder import LazyEncoder
from jina_vllm_integrations.testing import FakeEngine


def test_making_one_reads_nothing():
    """A model that does not exist is told by the first use."""
    lazy = LazyEncoder(engine=None, model="no such model", task="retrieval")
    with pytest.raises(CheckpointError, match="'no such model', which is neither"):
        lazy.get()


def test_all_threads_get_one_encoder():
    """The first use makes it, whoever comes first."""
    with FakeEngine() as engine:
        lazy = LazyEncoder(engine=engine, model=None, task="code", dimensions=16)
        with ThreadPoolExecutor(8) as executor:
            (encoder,) = {executor.submit(lazy.get).result() for _ in range(20)}
    assert (encoder.engine, encoder.task, encoder.dimensions) == (engine, "code", 16)


def test_the_callers_engine_stays_open():
    """Closing the adapter ends the adapter."""
    with FakeEngine() as engine:
        lazy = LazyEncoder(engine=engine, model=None, task="retrieval")
        encoder = lazy.get()
        lazy.close()
        lazy.close()
        assert encoder.embed(["still there"], role="query").shape == (1, 64)
        with pytest.raises(EngineClosedError, match=r"was closed\. Make another one"):
            lazy.get()


def test_an_engine_of_its_own_is_closed(vllm_engine, checkpoint):
    """It shares the session's vLLM, which goes on."""
    lazy = LazyEncoder(engine=None, model=checkpoint, task="retrieval", engine_options=ENGINE_OPTIONS)
    encoder = lazy.get()
    assert encoder.embed(["a text"], role="query").shape == (1, encoder.dimensions)
    lazy.close()
    with pytest.raises(EngineClosedError):
        encoder.embed(["a text"], role="query")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": None, "model": None}, "one of engine and model must be given"),
        ({"engine": FakeEngine(), "model": "a/model"}, "one of engine and model must be given"),
        (
            {"engine": FakeEngine(), "model": None, "engine_options": {"dtype": "float32"}},
            "engine options go with model=",
        ),
    ],
)
def test_an_engine_or_a_model(options, message):
    """Neither is guessed at."""
    with pytest.raises(OptionError, match=message):
        LazyEncoder(task="retrieval", **options)
