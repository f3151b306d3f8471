"""What every engine owes every caller: one suite over the real vLLM and the fake."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from jina_vllm_integrations import EngineClosedError, InputError, JinaEncoder, TextInput
from jina_vllm_integrations.testing import FakeEngine
from pictures import picture

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}


MIXED = ["ein Text", picture("red"), "もう一つ", picture("blue", (30, 200)), TextInput("a third")]


def test_one_row_an_item(encoder):
    """A mixed list comes back as one float32 unit vector an item."""
    vectors = encoder.embed(MIXED, role="document")
    assert vectors.shape == (len(MIXED), encoder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_order_is_kept(encoder):
    """Result i belongs to item i, short and long items mixed."""
    items = [*MIXED, *(f"text {n} " * (n % 7 + 1) for n in range(60))]
    shuffled = np.random.default_rng(0).permutation(len(items))
    vectors = encoder.embed(items, role="document")
    again = encoder.embed([items[index] for index in shuffled], role="document")
    np.testing.assert_allclose(again, vectors[shuffled], **SAME)


def test_a_vector_does_not_depend_on_its_batch(encoder):
    """An item alone and among others has the same vector."""
    together = encoder.embed(MIXED, role="document")
    alone = [encoder.embed([item], role="document")[0] for item in MIXED]
    np.testing.assert_allclose(together, np.stack(alone), **SAME)


def test_different_items_have_different_vectors(encoder):
    """No two of the mixed items share a vector, nor do a text as query and as document."""
    vectors = encoder.embed(MIXED, role="document")
    cosines = vectors @ vectors.T
    assert (cosines[~np.eye(len(MIXED), dtype=bool)] < 1 - 1e-4).all()
    as_query = encoder.embed(MIXED[:1], role="query")[0]
    assert as_query @ vectors[0] < 1 - 1e-4


def test_duplicates_are_each_answered(encoder):
    """Equal items get a row each, and the rows are equal."""
    vectors = encoder.embed(["gleich", "anders", "gleich"], role="query")
    assert vectors.shape[0] == 3
    np.testing.assert_allclose(vectors[0], vectors[2], **SAME)


def test_the_same_item_twice_in_a_row_is_computed_the_same(encoder):
    """A second call gives what the first gave: nothing half-read from a cache."""
    text = "Ein Text von mehr als einem Block. " * 20
    np.testing.assert_allclose(encoder.embed([text], role="document"), encoder.embed([text], role="document"), **SAME)


def test_an_empty_list_is_an_empty_matrix(encoder):
    """No items, no rows, but the right number of columns."""
    assert encoder.embed([], role="query").shape == (0, encoder.dimensions)
    assert encoder.embed_tokens([], role="query") == []
    assert list(encoder.stream([], role="query")) == []
    assert asyncio.run(encoder.aembed([], role="query")).shape == (0, encoder.dimensions)


def test_any_sequence_and_iterator_will_do(encoder):
    """Tuples and generators are as good as lists."""
    expected = encoder.embed(["a", "b"], role="query")
    np.testing.assert_allclose(encoder.embed(("a", "b"), role="query"), expected, **SAME)
    np.testing.assert_allclose(encoder.embed(iter(["a", "b"]), role="query"), expected, **SAME)


def test_token_vectors_describe_their_rows(encoder):
    """Rows are unit vectors; an image's rows lie on its grid, a text has none."""
    text, image = encoder.embed_tokens(["ein Text", picture("red", (300, 100))], role="document")
    for tokens in (text, image):
        assert len(tokens.vectors) == len(tokens.token_ids) == len(tokens.image_mask)
        np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1, atol=1e-5)
    assert text.grid is None
    rows, columns = image.grid
    assert columns > rows
    assert image.vectors[image.image_mask].reshape(rows, columns, -1).shape[:2] == image.grid


def test_all_ways_to_call_agree(encoder):
    """Sequence and stream, synchronous and asynchronous: the same vectors."""
    expected = encoder.embed(MIXED, role="document")
    expected_tokens = [tokens.vectors for tokens in encoder.embed_tokens(MIXED, role="document")]

    async def coroutines():
        return (
            await encoder.aembed(MIXED, role="document"),
            [vector async for vector in encoder.astream(MIXED, role="document")],
            await encoder.aembed_tokens(MIXED, role="document"),
            [tokens async for tokens in encoder.astream_tokens(MIXED, role="document")],
        )

    vectors, streamed, tokens, streamed_tokens = asyncio.run(coroutines())
    for found in (list(encoder.stream(MIXED, role="document")), vectors, streamed):
        np.testing.assert_allclose(np.stack(list(found)), expected, **SAME)
    for found in (encoder.stream_tokens(MIXED, role="document"), tokens, streamed_tokens):
        for ours, theirs in zip(found, expected_tokens, strict=True):
            np.testing.assert_allclose(ours.vectors, theirs, **SAME)


def test_both_outputs_are_those_of_the_separate_calls(encoder):
    """Dense and token vectors from one forward pass equal those of their own, in every way to call."""
    expected = encoder.embed(MIXED, role="document")
    expected_tokens = encoder.embed_tokens(MIXED, role="document")

    async def coroutines():
        return (
            await encoder.aembed_both(MIXED, role="document"),
            [pair async for pair in encoder.astream_both(MIXED, role="document")],
        )

    answered, streamed = asyncio.run(coroutines())
    for dense, tokens in (
        encoder.embed_both(MIXED, role="document"),
        answered,
        zip(*streamed, strict=True),
        zip(*encoder.stream_both(MIXED, role="document"), strict=True),
    ):
        np.testing.assert_allclose(np.stack(list(dense)), expected, **SAME)
        for ours, theirs in zip(tokens, expected_tokens, strict=True):
            np.testing.assert_allclose(ours.vectors, theirs.vectors, **SAME)
            np.testing.assert_array_equal(ours.image_mask, theirs.image_mask)
            assert ours.grid == theirs.grid


def test_many_threads_share_the_engine(encoder):
    """Eight threads at once each get the answers to their own questions."""
    batches = [[f"thread {thread} text {n}" for n in range(20)] for thread in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda batch: encoder.embed(batch, role="query"), batches))
    alone = encoder.embed(list(itertools.chain(*batches)), role="query")
    np.testing.assert_allclose(np.concatenate(answers), alone, **SAME)


def test_many_coroutines_share_the_engine(encoder):
    """Coroutines at once each get the answers to their own questions."""

    async def gather():
        return await asyncio.gather(*(encoder.aembed([f"coroutine {n}"], role="query") for n in range(30)))

    answers = np.concatenate(asyncio.run(gather()))
    np.testing.assert_allclose(answers, encoder.embed([f"coroutine {n}" for n in range(30)], role="query"), **SAME)


@pytest.mark.parametrize("method", ["aembed", "aembed_tokens"])
def test_an_asynchronous_call_leaves_the_event_loop_free(method):
    """The engine answers only once the loop has turned: a call that blocked it would wait for ever."""
    gate = threading.Event()
    submitted = asyncio.Event()

    class Gated(FakeEngine):
        def submit(self, requests):
            submitted.set()
            return super().submit(requests)

        def _compute(self, request):
            assert gate.wait(timeout=60)
            return super()._compute(request)

    async def open_gate():
        await submitted.wait()
        gate.set()

    async def both(call):
        answer, _ = await asyncio.gather(call(["a", "b"], role="query"), open_gate())
        return answer

    with Gated() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        assert len(asyncio.run(both(getattr(encoder, method)))) == 2


def test_three_encoders_of_three_tasks_share_an_engine(engine):
    """Encoders with their own task and size work side by side."""
    sizes = engine.checkpoint.matryoshka_dimensions
    encoders = [JinaEncoder(engine, task="retrieval", dimensions=sizes[0]), JinaEncoder(engine, task="text-matching")]
    with ThreadPoolExecutor(2) as pool:
        short, full = pool.map(lambda encoder: encoder.embed(["gleich"], role="document"), encoders)
    assert short.shape == (1, sizes[0])
    assert full.shape == (1, sizes[-1])
    assert abs(short[0] @ (full[0, : sizes[0]] / np.linalg.norm(full[0, : sizes[0]]))) < 1 - 1e-4


def test_a_stream_reads_no_further_than_it_must(encoder):
    """An endless iterable is read ahead by the requests in flight and no more."""
    taken = itertools.count()
    stream = encoder.stream((f"text {next(taken)}" for _ in itertools.repeat(None)), role="document")
    first = [next(stream) for _ in range(3)]
    stream.close()
    assert next(taken) <= 3 + encoder.engine.max_in_flight
    np.testing.assert_allclose(first, encoder.embed(["text 0", "text 1", "text 2"], role="document"), **SAME)


def test_an_asynchronous_stream_answers_before_the_next_item_comes(encoder):
    """A live source is not held up: the answer to its last item needs no further item."""

    async def converse():
        answered = asyncio.Event()

        async def source():
            yield "first"
            await answered.wait()
            yield "second"

        answers = []
        async for vector in encoder.astream(source(), role="query"):
            answers.append(vector)
            answered.set()
        return answers

    answers = asyncio.run(asyncio.wait_for(converse(), timeout=60))
    np.testing.assert_allclose(answers, encoder.embed(["first", "second"], role="query"), **SAME)


def test_a_bad_item_in_a_sequence_stops_all_before_any_work(engine):
    """The items before the bad one are not sent, and the error names its place."""
    sent = []

    class Recorder:
        checkpoint, max_tokens, max_in_flight = engine.checkpoint, engine.max_tokens, engine.max_in_flight

        def submit(self, requests):
            sent.extend(requests)
            return engine.submit(requests)

    with pytest.raises(InputError, match="item 2: ") as caught:
        JinaEncoder(Recorder(), task="retrieval").embed(["a", "b", "", "d"], role="query")
    assert caught.value.index == 2
    assert sent == []


def test_a_bad_item_in_a_stream_comes_after_the_results_before_it(encoder):
    """Nothing before the bad item is lost."""
    items = ["a", "b", "", "d"]
    streamed, awaited = [], []

    def collect():
        for vector in encoder.stream(items, role="query"):
            streamed.append(vector)  # noqa: PERF402 - keeps what came before the error

    async def acollect():
        async for vector in encoder.astream(items, role="query"):
            awaited.append(vector)  # noqa: PERF401 - likewise

    with pytest.raises(InputError, match="item 2: "):
        collect()
    with pytest.raises(InputError, match="item 2: "):
        asyncio.run(acollect())
    expected = encoder.embed(items[:2], role="query")
    np.testing.assert_allclose(streamed, expected, **SAME)
    np.testing.assert_allclose(awaited, expected, **SAME)


def test_a_bad_call_does_not_disturb_others(encoder):
    """While one caller's item fails, the other callers get their answers."""
    good = [f"good {n}" for n in range(50)]

    def fail():
        with pytest.raises(InputError):
            list(encoder.stream([*good[:10], None], role="query"))

    with ThreadPoolExecutor(3) as pool:
        failing = [pool.submit(fail) for _ in range(2)]
        answers = pool.submit(encoder.embed, good, role="query").result()
        for future in failing:
            future.result()
    np.testing.assert_allclose(answers, encoder.embed(good, role="query"), **SAME)


def test_an_error_of_the_callers_own_iterable_reaches_the_caller(encoder):
    """What the iterable raises is raised after the results before it, by every stream."""
    streamed, awaited = [], []

    def broken():
        yield from ["a", "b"]
        raise KeyError("mine")

    async def broken_async():
        for item in broken():
            yield item

    def collect():
        for vector in encoder.stream(broken(), role="query"):
            streamed.append(vector)  # noqa: PERF402 - keeps what came before the error

    async def acollect(items):
        async for vector in encoder.astream(items, role="query"):
            awaited.append(vector)  # noqa: PERF401 - likewise

    with pytest.raises(KeyError, match="mine"):
        collect()
    for items in (broken(), broken_async()):
        with pytest.raises(KeyError, match="mine"):
            asyncio.run(acollect(items))
    assert len(streamed) == 2
    assert len(awaited) == 4


def test_a_cancelled_coroutine_stops_its_work(make_engine):
    """Cancelling a call cancels what it has in flight, and the engine serves on."""
    futures = []
    with make_engine() as engine:

        class Recorder:
            checkpoint, max_tokens, max_in_flight = engine.checkpoint, engine.max_tokens, engine.max_in_flight

            def submit(self, requests):
                submitted = engine.submit(requests)
                futures.extend(submitted)
                return submitted

        encoder = JinaEncoder(Recorder(), task="retrieval")

        async def cancel():
            streaming = asyncio.Event()

            async def consume():
                async for _ in encoder.astream(itertools.repeat("endless"), role="query"):
                    streaming.set()

            task = asyncio.create_task(consume())
            await streaming.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert not wait(futures, timeout=60).not_done
        assert encoder.embed(["still there"], role="query").shape == (1, encoder.dimensions)


def test_closing_wakes_waiting_callers(make_engine):
    """A thread that waits for an engine gets an error that says it was closed."""
    engine = make_engine()
    encoder = JinaEncoder(engine, task="retrieval")
    streaming = threading.Event()

    def consume():
        for _ in encoder.stream(itertools.repeat("endless"), role="query"):
            streaming.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(consume)
        assert streaming.wait(timeout=60)
        engine.close()
        with pytest.raises(EngineClosedError, match=r"closed\. Make another one"):
            waiting.result(timeout=60)


def test_many_threads_may_close_an_engine(make_engine):
    """Whoever closes returns without an error once the engine is closed."""
    engine = make_engine()
    JinaEncoder(engine, task="retrieval").embed(["a"], role="query")
    with ThreadPoolExecutor(8) as pool:
        for closed in [pool.submit(engine.close) for _ in range(8)]:
            assert closed.result(timeout=60) is None


def test_a_closed_engine_refuses_work(make_engine):
    """After closing, by name or by ``with``, calls raise; closing twice is fine."""
    with make_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        encoder.embed(["a"], role="query")
    engine.close()
    with pytest.raises(EngineClosedError):
        encoder.embed(["a"], role="query")
    with pytest.raises(EngineClosedError):
        asyncio.run(encoder.aembed(["a"], role="query"))


def test_closing_an_engine_that_never_started_is_fine(make_engine):
    """Making and closing an engine costs nothing."""
    engine = make_engine()
    engine.close()
    with pytest.raises(EngineClosedError):
        JinaEncoder(engine, task="retrieval").embed(["a"], role="query")


def test_warming_up_leaves_an_engine_that_serves(encoder):
    """Both ways to warm up return once a text and a page were computed, and may be called again."""
    assert encoder.warmup() is None
    assert asyncio.run(encoder.awarmup()) is None
    assert encoder.embed(["a"], role="query").shape == (1, encoder.dimensions)


def test_an_engine_for_short_texts_warms_up():
    """Where no image fits, only a text is computed."""
    JinaEncoder(FakeEngine(max_tokens=64), task="retrieval").warmup()


def test_a_closed_engine_does_not_warm_up(make_engine):
    """It says that it was closed, and starts nothing."""
    with make_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
    with pytest.raises(EngineClosedError, match=r"closed\. Make another one"):
        encoder.warmup()
    with pytest.raises(EngineClosedError, match=r"closed\. Make another one"):
        asyncio.run(encoder.awarmup())
