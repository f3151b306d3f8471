"""Engines of each kind: what one owes its callers, all do."""

from __future__ import annotations

import pytest

from engine_options import ENGINE_OPTIONS, MAX_TOKENS
from jina_vllm_integrations import InProcessEngine
from jina_vllm_integrations.testing import FakeEngine


@pytest.fixture(params=["fake", "pooled in vLLM", "pooled by the client"])
def make_engine(request, checkpoint):
    """Return a maker of engines of each kind. Those of one kind compute the same vectors."""
    if request.param == "fake":
        return lambda: FakeEngine(max_tokens=MAX_TOKENS)
    if request.param == "pooled in vLLM":
        return request.getfixturevalue("make_vllm_engine")
    request.getfixturevalue("client_engine")
    return lambda: InProcessEngine(checkpoint, pooling="client", **ENGINE_OPTIONS)


@pytest.fixture
def engine(make_engine):
    """Return an engine of each kind."""
    with make_engine() as engine:
        yield engine
