"""LangChain's embeddings and their engine: copies, pickles, closing."""

from __future__ import annotations

import asyncio
import copy
import pickle

import numpy as np
import pytest
from langchain_core.load import dumpd
from pydantic import ValidationError

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import EngineClosedError, OptionError
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}


def test_nothing_shows_the_engine(embeddings, engine):
    """An engine is neither printed nor serialised, nor are options that may hold a token."""
    assert "Engine" not in repr(embeddings)
    assert "engine" not in embeddings.model_dump()
    assert dumpd(embeddings)["type"] == "not_implemented"
    assert "hf_secret" not in repr(JinaVLLMEmbeddings(model="x", engine_options={"hf_token": "hf_secret"}))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda given: given.model_copy(), lambda given: given.model_copy(deep=True)]
)
def test_a_copy_shares_an_engine_that_was_given(embeddings, engine, copied):
    """A given engine is the caller's, whoever uses it; closing a copy closes no other."""
    other = copied(embeddings)
    assert other.engine is engine
    other.close()
    assert len(embeddings.embed_query("a")) == 64


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))],  # noqa: S301 - its own
)
def test_a_copy_has_an_engine_of_its_own_where_none_was_given(vllm_engine, checkpoint, copied):
    """Closing the one leaves the other."""
    with JinaVLLMEmbeddings(model=checkpoint, engine_options=ENGINE_OPTIONS) as embeddings:
        expected = embeddings.embed_query("a")
        other = copied(embeddings)
        assert other.model_dump() == embeddings.model_dump()
    with other:
        np.testing.assert_allclose(other.embed_query("a"), expected, **SAME)
    with pytest.raises(EngineClosedError, match="was closed"):
        embeddings.embed_query("a")


def test_a_copy_with_other_settings_has_them(embeddings):
    """``model_copy(update=...)`` takes effect, and is checked."""
    assert len(embeddings.embed_query("a")) == 64
    assert len(embeddings.model_copy(update={"dimensions": 16}).embed_query("a")) == 16
    with pytest.raises(ValidationError, match="not permitted"):
        embeddings.model_copy(update={"dimension": 16})


def test_an_engine_that_was_given_is_not_pickled(embeddings):
    """It cannot travel, and a copy without it could not work."""
    with pytest.raises(OptionError, match=r"got engine\. Pass model="):
        pickle.dumps(embeddings)


def test_closing_leaves_the_callers_engine_open(engine):
    """The embeddings end, the engine does not; both kinds of context managers close."""

    async def leave(embeddings):
        async with embeddings:
            await embeddings.aembed_query("a")

    with JinaVLLMEmbeddings(engine=engine) as first:
        first.embed_query("a")
    second = JinaVLLMEmbeddings(engine=engine)
    asyncio.run(leave(second))
    for embeddings in (first, second):
        with pytest.raises(EngineClosedError, match="Make another one"):
            embeddings.embed_query("a")
    assert len(JinaVLLMEmbeddings(engine=engine).embed_query("a")) == 64
