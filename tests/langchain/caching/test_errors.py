"""The cache of LangChain's embeddings where something goes wrong, its setting, and on vLLM."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading

import numpy as np
import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from PIL import Image
from pydantic import ValidationError

from caches import RecordingStore, both
from engine_options import ENGINE_OPTIONS
from fake_engines import DyingEngine, SilentEngine
from jina_vllm_integrations import (
    EmptyTextError,
    EngineDiedError,
    ImageFormatError,
    InputError,
    JinaEncoder,
    OptionError,
)
from jina_vllm_integrations.images import ImageHandle
from jina_vllm_integrations.langchain import JinaVLLMByteStore, JinaVLLMEmbeddings
from jina_vllm_integrations.testing import FakeEngine
from pictures import encoded, picture, png

# Float16 has eleven bits; the numbers of a vector are at most 1.
ROUNDED = {"rtol": 0, "atol": 2**-11}


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record[:-1] + bytes([record[-1] ^ 1]),
        lambda record: record[:20],
        lambda record: record[:6],
        lambda record: b"",
        lambda record: json.dumps([0.5] * 64).encode(),
        lambda record: "text",
    ],
    ids=["a bit", "cut", "header", "empty", "another program's", "no bytes"],
)
@pytest.mark.parametrize("embed_multimodal", both("embed_multimodal"))
def test_what_is_damaged_is_computed_again(embeddings, engine, cache, caplog, damage, embed_multimodal):
    """It is logged, counts as missing, and is overwritten; vectors and notes of images alike."""
    items = ["a", png("red")]
    vectors = embed_multimodal(embeddings, items)
    kept = dict(cache.store)
    cache.store = {key: damage(record) for key, record in kept.items()}
    assert embed_multimodal(embeddings, items) == vectors
    assert engine.n_requests == 4
    assert cache.store == kept
    assert len(caplog.messages) == 3
    assert all("is damaged or another program's, and counts as missing" in message for message in caplog.messages)
    assert {message.split()[3] for message in caplog.messages} == set(kept)


def test_a_whole_entry_in_anothers_place_is_not_believed(embeddings, engine, cache, caplog):
    """The checksum is of the key as well."""
    first, second = embeddings.embed_documents(["a", "b"])
    one, other = cache.store
    cache.store[one], cache.store[other] = cache.store[other], cache.store[one]
    assert embeddings.embed_documents(["a", "b"]) == [first, second]
    assert engine.n_requests == 4
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("embed_documents", both("embed_documents"))
def test_a_crash_keeps_the_finished_batches(engine, cache, embed_documents):
    """What is called again goes on where it was."""
    texts = [f"text {number}" for number in range(7)]
    with DyingEngine(3) as dying, pytest.raises(EngineDiedError) as caught:
        embed_documents(JinaVLLMEmbeddings(engine=dying, cache=cache, batch_size=2), texts)
    assert caught.value.__notes__[1:] == [
        "of the items that were not in the cache",
        "in the batch that begins with item 2",
    ]
    assert len(cache.store) == 2
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=2)
    assert len(embed_documents(embeddings, texts)) == 7
    assert engine.n_requests == 5


@pytest.mark.parametrize("embed_multimodal", both("embed_multimodal"))
def test_a_bad_item_is_named_by_its_position_in_all(engine, cache, embed_multimodal):
    """Whichever step finds it, and whatever of its batch was in the cache. What was in the batches before is kept."""
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900]
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=4)
    embed_multimodal(embeddings, ["e", "f"])
    for bad, error in [(" ", EmptyTextError), (cut, ImageFormatError), (b"no image", ImageFormatError)]:
        with pytest.raises(error) as caught:
            embed_multimodal(embeddings, ["a", "b", "c", "d", "e", "f", bad])
        assert caught.value.index == 6
        assert engine.n_requests == 6


@pytest.mark.parametrize("embed_documents", both("embed_documents"))
def test_vectors_that_are_not_finite_are_not_kept(cache, monkeypatch, embed_documents):
    """The error names the item by its position, found ones counted."""
    compute = FakeEngine._compute

    def spoilt(engine, request):
        embedding = compute(engine, request)
        if len(request.prompt.token_ids) == len("Passage: the spoilt one"):
            embedding.dense[3] = np.nan
        return embedding

    monkeypatch.setattr(FakeEngine, "_compute", spoilt)
    with FakeEngine() as engine:
        embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache)
        embed_documents(embeddings, ["a"])
        with pytest.raises(InputError, match=r"item 2: a vector must be finite to be kept.*another dtype"):
            embed_documents(embeddings, ["a", "a", "the spoilt one"])
    assert len(cache.store) == 1


@pytest.mark.parametrize("embed_query", both("embed_query"))
def test_what_was_given_alone_has_no_index(embeddings, embed_query):
    """A query's error is about the query."""
    with pytest.raises(EmptyTextError) as caught:
        embed_query(embeddings, " ")
    assert caught.value.index is None


@pytest.mark.parametrize("method", ["mget", "mset"])
@pytest.mark.parametrize("embed_query", both("embed_query"))
def test_the_stores_own_errors_are_raised(engine, method, embed_query):
    """A store that cannot be reached is not passed over."""

    class FailingStore(RecordingStore):
        def fail(self, _):
            raise ConnectionError("no such host")

    setattr(FailingStore, method, FailingStore.fail)
    with pytest.raises(ConnectionError, match="no such host"):
        embed_query(JinaVLLMEmbeddings(engine=engine, cache=FailingStore()), "a")


def test_cancelling_stops_the_work(cache):
    """What waits for the engine ends, and so does the engine's work."""

    async def cancel(embeddings, engine):
        task = asyncio.create_task(embeddings.aembed_documents(["a", "b"]))
        await asyncio.to_thread(engine.asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with SilentEngine() as engine:
        asyncio.run(cancel(JinaVLLMEmbeddings(engine=engine, cache=cache), engine))
        assert all(answer.cancelled() for answer in engine.answers)
    assert cache.store == {}


def test_the_event_loop_hashes_and_decodes_nothing(embeddings, engine, monkeypatch):
    """Neither the model's files nor images are read on the loop's thread."""
    load = ImageHandle.load
    decoded_in = []

    def watched(handle):
        decoded_in.append(threading.current_thread())
        return load(handle)

    monkeypatch.setattr(ImageHandle, "load", watched)
    asyncio.run(embeddings.aembed_multimodal(["a", png("red"), picture("blue")]))
    assert engine.asked_in
    assert decoded_in
    assert threading.main_thread() not in {*engine.asked_in, *decoded_in}


# The setting.


def test_nothing_shows_the_cache(embeddings, cache):
    """It is neither printed nor serialised, copies share it, and it is not pickled."""
    assert "cache" not in repr(embeddings)
    assert "cache" not in embeddings.model_dump()
    for other in (copy.deepcopy(embeddings), embeddings.model_copy(update={"dimensions": 16}, deep=True)):
        assert other.cache is cache
    with pytest.raises(OptionError, match=r"got cache\. Pass model= .*, and open a store or cache where it is used"):
        pickle.dumps(JinaVLLMEmbeddings(model="somewhere", cache=cache))


@pytest.mark.parametrize("cache", [{}, "folder", CacheBackedEmbeddings])
def test_what_is_no_store_is_told_when_one_is_made(engine, cache):
    """It does not wait for the first text."""
    with pytest.raises(ValidationError, match=r"cache\n.*BaseStore"):
        JinaVLLMEmbeddings(engine=engine, cache=cache)


# On the real engine.


def test_vllms_vectors_are_kept(make_vllm_engine, checkpoint, tmp_path):
    """Texts and pages of the real engine come back, rounded, without a vLLM, and another dtype finds none of them."""
    items = ["ein Text", picture("red"), png("blue")]
    with make_vllm_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        documents, query = encoder.embed(items, role="document"), encoder.embed(items[:1], role="query")[0]
    with JinaVLLMByteStore(tmp_path) as cache:
        with make_vllm_engine() as engine:
            embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache)
            kept = [*embeddings.embed_multimodal(items), embeddings.embed_query("ein Text")]
        np.testing.assert_allclose(kept, [*documents, query], **ROUNDED)
        with JinaVLLMEmbeddings(model=checkpoint, engine_options=ENGINE_OPTIONS, cache=cache) as later:
            assert [*later.embed_multimodal(items), asyncio.run(later.aembed_query("ein Text"))] == kept
            assert later.encoder().engine._runtime is None
        n_entries = len(list(cache.yield_keys()))
        with JinaVLLMEmbeddings(
            model=checkpoint, engine_options={**ENGINE_OPTIONS, "wire_dtype": "float16"}, cache=cache
        ) as other:
            other.embed_query("ein Text")
        assert len(list(cache.yield_keys())) == n_entries + 1
