"""The life of a vLLM in this machine: options, start, sharing, death.

How it ends with a script, `test_fresh_processes` tells.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import (
    EngineClosedError,
    EngineDiedError,
    EngineStartError,
    InProcessEngine,
    JinaEncoder,
    MissingExtraError,
    OptionError,
)
from jina_vllm_integrations.engines import in_process


def vllm_processes():
    """Return the ids of vLLM's processes below this one that live."""
    children = psutil.Process().children(recursive=True)
    living = (child for child in children if child.status() != psutil.STATUS_ZOMBIE)
    return {child.pid for child in living if "EngineCore" in " ".join(child.cmdline())}


def encoder_of(engine):
    """Return a retrieval encoder."""
    return JinaEncoder(engine, task="retrieval")


def test_an_unknown_option_is_refused_at_construction(checkpoint):
    """A misspelt option raises before any weights load, with the likely name."""
    before = vllm_processes()
    with pytest.raises(OptionError, match=r"no engine option 'max_model_length'\. Did you mean 'max_model_len'\?"):
        InProcessEngine(checkpoint, max_model_length=8)
    assert vllm_processes() == before


@pytest.mark.parametrize("name", ["pooler_config", "runner", "enable_prefix_caching", "convert"])
def test_options_that_decide_the_vectors_are_not_the_callers(checkpoint, name):
    """What makes the vectors right cannot be overridden."""
    with pytest.raises(OptionError, match=f"{name}: set by InProcessEngine itself"):
        InProcessEngine(checkpoint, **{name: None})


@pytest.mark.parametrize("length", [-1, 0, "8k", 2.5])
def test_the_longest_prompt_is_a_number(checkpoint, length):
    """Texts are checked against max_model_len before vLLM starts, so it must be known."""
    with pytest.raises(OptionError, match="max_model_len must be a positive whole number, got"):
        InProcessEngine(checkpoint, max_model_len=length)


@pytest.mark.parametrize("count", [0, -2, "2", True, 1.0, None])
def test_the_number_of_gpus_is_a_whole_number(checkpoint, count):
    """There is at least one."""
    with pytest.raises(OptionError, match=rf"data_parallel must be a whole number from 1, got {count!r}\."):
        InProcessEngine(checkpoint, data_parallel=count)


def test_data_parallelism_has_a_name_of_its_own(checkpoint):
    """VLLM's own option would leave the queue sized for one GPU."""
    with pytest.raises(OptionError, match=r"data_parallel_size: write InProcessEngine\(\.\.\., data_parallel=N\)"):
        InProcessEngine(checkpoint, data_parallel_size=2)


@pytest.mark.parametrize("count", [-1, "2", True, 1.5])
def test_the_number_of_render_processes_is_a_whole_number(checkpoint, count):
    """None at all is fine: images are then rendered here."""
    with pytest.raises(OptionError, match=rf"render_processes must be a whole number from 0, got {count!r}\."):
        InProcessEngine(checkpoint, render_processes=count)


def test_without_vllm_the_error_names_the_extra(checkpoint, monkeypatch):
    """A machine without vLLM is told what to install."""
    monkeypatch.setattr(in_process, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-vllm-integrations\[gpu\]'") as caught:
        InProcessEngine(checkpoint)
    assert caught.value.extra == "gpu"


def test_making_an_engine_and_encoder_starts_nothing(checkpoint):
    """Only the first encode starts vLLM."""
    before = vllm_processes()
    with InProcessEngine(checkpoint, max_num_seqs=3) as engine:
        encoder = JinaEncoder(engine, task="retrieval", dimensions=64)
        assert encoder.dimensions == 64
        assert encoder.embed([], role="query").shape == (0, 64)
        assert vllm_processes() == before


def test_equal_settings_share_one_vllm(make_vllm_engine):
    """A second engine of equal settings starts nothing, and outlives the first."""
    before = vllm_processes()
    first, second = make_vllm_engine(), make_vllm_engine()
    with second:
        vectors = encoder_of(first).embed(["gleich"], role="query")
        first.close()
        np.testing.assert_allclose(encoder_of(second).embed(["gleich"], role="query"), vectors, atol=1e-6)
        assert vllm_processes() == before


def test_closing_one_engine_leaves_the_callers_of_another_alone(make_vllm_engine):
    """Only the callers of the closed engine are woken."""
    first, second = make_vllm_engine(), make_vllm_engine()
    streaming = threading.Barrier(3, timeout=60)

    def consume(encoder, count):
        stream = encoder.stream(itertools.repeat("text", count), role="query")
        next(stream)
        streaming.wait()
        return sum(1 for _ in stream)

    with second, ThreadPoolExecutor(2) as pool:
        closed = pool.submit(consume, encoder_of(first), 100_000)
        other = pool.submit(consume, encoder_of(second), 300)
        streaming.wait()
        first.close()
        with pytest.raises(EngineClosedError):
            closed.result(timeout=60)
        assert other.result(timeout=60) == 299


def test_cancelling_a_call_aborts_its_requests_in_vllm(make_vllm_engine):
    """White box: what a cancelled call had in flight leaves vLLM's own books, too."""

    async def until_idle(llm):
        while llm.output_processor.get_num_unfinished_requests():  # noqa: ASYNC110 - vLLM tells nobody
            await asyncio.sleep(0)

    with make_vllm_engine() as engine:
        stream = encoder_of(engine).stream(itertools.repeat("x" * 1500), role="query")
        next(stream)
        runtime = engine._runtime
        assert runtime._llm.output_processor.get_num_unfinished_requests() > 0
        stream.close()
        (idle,) = runtime.submit([lambda: until_idle(runtime._llm)])
        idle.result(timeout=60)


def test_a_loop_may_use_and_close_an_engine(checkpoint, vllm_engine):
    """The asynchronous context manager closes the engine."""

    async def use():
        async with InProcessEngine(checkpoint, **ENGINE_OPTIONS) as engine:
            encoder = encoder_of(engine)
            vectors = await encoder.aembed(["a"], role="query")
        with pytest.raises(EngineClosedError):
            await encoder.aembed(["a"], role="query")
        return vectors

    assert asyncio.run(use()).shape == (1, 256)


@pytest.mark.parametrize("name", ["architectures", "jina_projectors"])
def test_overrides_that_decide_the_vectors_are_not_the_callers(checkpoint, name):
    """hf_overrides cannot choose another model class behind the engine's back."""
    with pytest.raises(OptionError, match=f"hf_overrides {name}: set by InProcessEngine itself"):
        InProcessEngine(checkpoint, hf_overrides={name: "x"})


def test_a_dropped_engine_lets_go_of_its_vllm(make_vllm_engine):
    """An engine that nobody closed is released with its last reference."""
    engine = make_vllm_engine()
    encoder_of(engine).embed(["a"], role="query")
    runtime = engine._runtime
    users = runtime._users
    del engine
    assert runtime._users == users - 1


def test_a_failed_start_reaches_every_waiting_caller(checkpoint):
    """Each of several callers gets the reason, and the start is not tried once for each."""
    with InProcessEngine(checkpoint, dtype="float7") as engine:
        encoder = encoder_of(engine)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(encoder.embed, ["a"] * 20, role="query") for _ in range(4)]
            for future in waiting:
                with pytest.raises(EngineStartError, match=r"(?s)vLLM did not start: .*float7"):
                    future.result(timeout=120)
        with pytest.raises(EngineStartError):
            encoder.embed(["again"], role="query")


def test_a_killed_engine_wakes_its_callers_and_the_next_call_starts_another(make_vllm_engine):
    """Killing vLLM's process from outside raises at every waiting caller; the engine then serves again.

    White box, for the process's id: it is the session's vLLM, whose next life is as good.
    """
    before = vllm_processes()
    with make_vllm_engine() as engine:
        encoder = encoder_of(engine)
        vectors = encoder.embed(["before"], role="query")
        (victim,) = (process.pid for process in engine._runtime._processes)
        assert victim in before
        streaming = threading.Barrier(3, timeout=60)

        def consume():
            stream = encoder.stream(itertools.repeat("endless"), role="query")
            next(stream)
            streaming.wait()
            for _ in stream:
                pass

        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(consume) for _ in range(2)]
            streaming.wait()
            os.kill(victim, signal.SIGKILL)
            for future in waiting:
                with pytest.raises(EngineDiedError, match=r"The next call starts another"):
                    future.result(timeout=120)
        assert vllm_processes() == before - {victim}
        np.testing.assert_allclose(encoder.embed(["before"], role="query"), vectors, atol=1e-6)
        assert len(vllm_processes() - before) == 1


def test_two_engines_of_one_caller(checkpoint, vllm_engine):
    """With data_parallel=2 two processes compute what one does; the death of either is told, and none is left over.

    Another caller's vLLM is unharmed.
    """
    items = [f"text {n} " * (n % 5 + 1) for n in range(40)]
    items[7:7] = [Image.effect_noise((200 + 20 * n, 120), 60).convert("RGB") for n in range(6)]
    before = vllm_processes()
    with InProcessEngine(checkpoint, data_parallel=2, **ENGINE_OPTIONS) as engine:
        encoder = encoder_of(engine)
        encoder.warmup()
        ours = {pid: psutil.Process(pid) for pid in vllm_processes() - before}
        names = {process.cmdline()[0].strip(): process for process in ours.values()}
        assert sorted(names) == ["VLLM::EngineCore_DP0", "VLLM::EngineCore_DP1"]
        vectors = encoder.embed(items, role="document")
        expected = encoder_of(vllm_engine).embed(items, role="document")
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
        stream = encoder.stream(itertools.repeat("endless"), role="query")
        next(stream)
        names["VLLM::EngineCore_DP1"].kill()
        with pytest.raises(EngineDiedError, match=r"The next call starts another"):
            for _ in stream:
                pass
        assert not set(ours) & vllm_processes()  # the one that was not killed has ended as well
        np.testing.assert_allclose(encoder_of(vllm_engine).embed(items, role="document"), expected, rtol=0, atol=1e-6)
    assert vllm_processes() == before


def _embed_in_fork(encoder, answers):
    try:
        encoder.embed(["in the fork"], role="query")
    except EngineStartError as error:
        answers.put(str(error))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_is_refused(make_vllm_engine):
    """A forked process is told that the engine is not its own, instead of waiting for ever."""
    with make_vllm_engine() as engine:
        encoder = encoder_of(engine)
        encoder.embed(["in the parent"], role="query")
        fork = multiprocessing.get_context("fork")
        answers = fork.Queue()
        child = fork.Process(target=_embed_in_fork, args=(encoder, answers))
        child.start()
        assert "does not work in its fork" in answers.get(timeout=60)
        child.join(timeout=60)
