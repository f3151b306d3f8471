"""LlamaIndex's embedding shares one engine: copies, pickles, worker processes, callers in one event loop."""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import pickle
import threading
import time

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import ImageNode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import ValidationError

import jina_vllm_integrations.llama_index
from fake_engines import GatheringEngine, SilentEngine
from jina_vllm_integrations import CheckpointError, EngineClosedError, EngineStartError, OptionError
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding
from jina_vllm_integrations.testing import FakeEngine
from pictures import saved


async def until(condition):
    """Wait for what other threads do."""
    while not condition():  # noqa: ASYNC110 - they know no event of this loop
        await asyncio.sleep(0.001)


def test_settings_survive_a_dictionary(engine):
    """What is written down makes an equal one, without engine and secrets."""
    embedding = JinaVLLMEmbedding(
        model="jinaai/x",
        task="code",
        dimensions=16,
        image_limits=ImageLimits(private_hosts=frozenset({"b.example", "a.example"})),
        engine_options={"hf_token": "SECRET", "gpu_memory_utilization": 0.5},
    )
    assert "SECRET" not in embedding.to_json() + repr(embedding) + str(embedding.to_payload())
    again = JinaVLLMEmbedding.from_json(embedding.to_json())
    left_out = {"engine_options"}
    assert again.model_dump(exclude=left_out) == embedding.model_dump(exclude=left_out)
    assert (again.model_name, again.image_limits) == ("jinaai/x", embedding.image_limits)
    given = JinaVLLMEmbedding(engine=engine, dimensions=16)
    assert json.loads(given.to_json())["model_name"] == "fake"
    with pytest.raises(ValidationError, match="one of engine and model must be given"):
        JinaVLLMEmbedding.from_dict(given.to_dict())
    assert len(JinaVLLMEmbedding.from_dict(given.to_dict(), engine=engine).get_text_embedding("a")) == 16


def test_engine_options_that_change_vectors_are_not_forgotten():
    """A dictionary tells that there were some, not their values, and asks for them."""
    options = {"quantization": "fp8"}
    data = JinaVLLMEmbedding(model="jinaai/x", engine_options=options).to_dict()
    assert "fp8" not in str(data)
    with pytest.raises(OptionError, match="which had quantization that change vectors"):
        JinaVLLMEmbedding.from_dict(data)
    assert JinaVLLMEmbedding.from_dict(data, engine_options=options).engine_options == options


def test_copies_share_the_engine_and_are_checked(embedding, engine):
    """A copy with other settings has them; a deep one copies no engine."""
    for copied in (copy.copy(embedding), copy.deepcopy(embedding), embedding.model_copy()):
        assert copied.engine is engine
        assert copied.get_text_embedding("a") == embedding.get_text_embedding("a")
    assert len(embedding.model_copy(update={"dimensions": 16}).get_text_embedding("a")) == 16
    with pytest.raises(ValidationError, match="'text-matching'"):
        embedding.model_copy(update={"task": "other"})


def test_pickling_starts_nothing(embedding, engine, cached):
    """Trap: LlamaIndex's unpickling builds a model again. Here settings travel, and what cannot is refused."""
    travelled = pickle.loads(pickle.dumps(JinaVLLMEmbedding(model="no such model", dimensions=16)))  # noqa: S301
    assert (travelled.model, travelled.dimensions) == ("no such model", 16)
    assert travelled._encoder._encoder is None
    travelled.callback_manager = CallbackManager([])
    travelled.rate_limiter = threading.Lock()
    assert pickle.loads(pickle.dumps(travelled)).rate_limiter is None  # noqa: S301
    with pytest.raises(CheckpointError):
        travelled.get_text_embedding("a")
    for kept in (embedding, cached):
        with pytest.raises(OptionError, match=r"must be made without what cannot leave its process, got .*engine"):
            pickle.dumps(kept)


def test_a_worker_process_starts_no_engine(monkeypatch):
    """What was unpickled in one refuses; what is made there on purpose does not."""
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    travelled = pickle.loads(pickle.dumps(JinaVLLMEmbedding(model="no such model")))  # noqa: S301
    calls = [
        lambda: travelled.get_text_embedding("a"),
        lambda: travelled([TextNode(text="a")]),
        lambda: asyncio.run(travelled.aget_image_embedding("a.png")),
        travelled.encoder,
    ]
    for call in calls:
        with pytest.raises(EngineStartError, match=r"in 'MainProcess'.*Run an IngestionPipeline without num_workers"):
            call()
    with pytest.raises(CheckpointError, match="no such model"):
        travelled.model_copy().get_text_embedding("a")


def test_a_pipeline_with_workers_is_refused(embedding):
    """A pipeline's worker processes get either no embedding, or one that says why it does not start a vLLM."""
    nodes = [TextNode(text="a"), TextNode(text="b")]
    lazy = IngestionPipeline(transformations=[JinaVLLMEmbedding(model="no such model")])
    with pytest.raises(EngineStartError, match="each worker would load the model into the same GPU"):
        lazy.run(nodes=nodes, num_workers=2)
    with pytest.raises(OptionError, match="cannot leave its process, got engine"):
        asyncio.run(IngestionPipeline(transformations=[embedding]).arun(nodes=nodes, num_workers=2))


def test_closing_leaves_the_callers_engine_open(engine):
    """A closed one refuses; the engine goes on."""
    with JinaVLLMEmbedding(engine=engine) as embedding:
        embedding.get_text_embedding("a")
    with pytest.raises(EngineClosedError):
        embedding.get_text_embedding("a")
    assert JinaVLLMEmbedding(engine=engine).get_text_embedding("a")


# The event loop.


def test_many_callers_share_a_batch(red):
    """Calls that wait for each other all arrive: none is one by one, and none holds the loop."""

    async def calls(embedding):
        queries = [embedding.aget_query_embedding(f"Frage {number}") for number in range(46)]
        others = [
            embedding.aget_text_embedding_batch(["a", "b"]),
            embedding.aget_image_embedding_batch([red]),
            embedding.acall([TextNode(text="a")]),
        ]
        return await asyncio.gather(*queries, *others)

    with GatheringEngine(50) as engine:
        assert len(asyncio.run(calls(JinaVLLMEmbedding(engine=engine)))) == 49


@pytest.mark.parametrize("store", [None, SimpleKVStore()])
def test_the_event_loop_is_not_blocked(monkeypatch, tmp_path, store):
    """Trap: LlamaIndex's defaults compute on the loop. It goes on while models load, images decode and texts wait."""
    main = threading.main_thread()
    seen = []

    def noting(function):
        def noted(*args, **kwargs):
            seen.append(threading.current_thread())
            time.sleep(0.002)
            return function(*args, **kwargs)

        return noted

    monkeypatch.setattr(
        "jina_vllm_integrations.adapters.lazy_encoder.LazyEncoder._own_engine", noting(lambda _lazy: FakeEngine())
    )
    monkeypatch.setattr("jina_vllm_integrations.images.inspect", noting(jina_vllm_integrations.images.inspect))
    pages = [saved(tmp_path / f"{number}.png", (number, 0, 0)) for number in range(20)]
    embedding = JinaVLLMEmbedding(model="somewhere", embeddings_cache=store)
    asyncio.run(embedding.acall([*(ImageNode(image_path=str(page)) for page in pages), TextNode(text="a")]))
    asyncio.run(embedding.aget_image_embedding_batch(pages))
    assert len(seen) > 20
    assert main not in seen


def test_cancelling_stops_the_work():
    """What is no longer waited for is cancelled, in all batches."""

    async def cancelled(embedding):
        task = asyncio.create_task(embedding.aget_text_embedding_batch([f"Text {number}" for number in range(20)]))
        await until(lambda: len(engine.answers) >= 10)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: all(answer.cancelled() for answer in engine.answers))

    with SilentEngine() as engine:
        asyncio.run(asyncio.wait_for(cancelled(JinaVLLMEmbedding(engine=engine, embed_batch_size=5)), 5))
        assert len(engine.answers) == 10


def test_num_workers_bound_the_batches_at_once():
    """As many batches of a call are under way as was chosen."""

    async def started(embedding, n_requests):
        task = asyncio.create_task(embedding.aget_text_embedding_batch([f"Text {number}" for number in range(20)]))
        await until(lambda: len(engine.answers) >= n_requests)
        await asyncio.sleep(0.05)
        task.cancel()
        return len(engine.answers)

    for n_workers in (1, 3):
        with SilentEngine() as engine:
            embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=4, num_workers=n_workers)
            assert asyncio.run(started(embedding, 4 * n_workers)) == 4 * n_workers
