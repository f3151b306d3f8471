"""Interleavings of a runtime's life that a real vLLM shows too seldom: vLLM is a stub here, the rest is real."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import wait

import pytest

from jina_vllm_integrations import EngineClosedError, EngineDiedError
from jina_vllm_integrations.engines import vllm_runtime
from jina_vllm_integrations.engines.admission import Admission
from jina_vllm_integrations.engines.garbage import CollectorThreshold
from jina_vllm_integrations.engines.vllm_runtime import VLLMRuntime

ADMISSION = Admission(batch_tokens=512, cell_pixels=784, page_pixels=602112, n_rendered=2)


class StubLLM:
    """Stands for AsyncLLM: answers when it is told to, and dies without telling those who wait."""

    def __init__(self):
        self.errored = False
        self.shut_down = threading.Event()
        self.working = threading.Event()

    async def work(self):
        """Wait for ever, as a request does whose vLLM died silently."""
        self.working.set()
        await asyncio.Event().wait()

    def shutdown(self):
        """Note that it was asked to."""
        self.shut_down.set()


@pytest.fixture
def llms(monkeypatch):
    """Return the stubs in the order of their start."""
    started = []

    def start(self):
        if self._predecessor is not None:
            self._predecessor.join()
        started.append(StubLLM())
        return started[-1]

    monkeypatch.setattr(VLLMRuntime, "_start", start)
    return started


@pytest.fixture
def thresholds(monkeypatch):
    """Return low ones of the garbage collector, which are set, and which no other vLLM holds up."""
    before, low = gc.get_threshold(), (700, 10, 10)
    gc.set_threshold(*low)
    monkeypatch.setattr(vllm_runtime, "COLLECTOR_THRESHOLD", CollectorThreshold())
    yield low
    gc.set_threshold(*before)


@pytest.fixture
def runtime(llms):
    """Return a runtime of options that nothing else has."""
    runtime = VLLMRuntime.acquire({"model": "stub"}, admission=ADMISSION, render_processes=0)
    yield runtime
    if not runtime._stopped:
        runtime.release()


def submit(runtime, work=StubLLM.work):
    """Submit work as an engine does."""
    life = runtime.life
    (future,) = runtime.submit([lambda: runtime.serve(work, life=life)])
    return future


async def answer(llm):
    """Work that ends at once."""
    return llm


def test_a_death_that_a_new_request_sees_first_wakes_those_who_wait(runtime, llms):
    """The waiting task, the one that noticed, and what was queued all hear of it; the next one starts another vLLM."""
    submit(runtime, answer).result(timeout=60)
    waiting = submit(runtime)
    assert llms[0].working.wait(timeout=60)
    llms[0].errored = True
    noticing = submit(runtime, answer)
    for future in (waiting, noticing):
        with pytest.raises(EngineDiedError, match="The next call starts another"):
            future.result(timeout=60)
    assert llms[0].shut_down.is_set()
    assert submit(runtime, answer).result(timeout=60) is llms[1]


def test_a_death_while_nobody_waits_is_only_logged(runtime, llms, caplog):
    """An idle vLLM that died is replaced, and the caller never knows."""
    submit(runtime, answer).result(timeout=60)
    llms[0].errored = True
    assert submit(runtime, answer).result(timeout=60) is llms[1]
    assert "ended while it was idle" in caplog.text


def test_a_cancelled_future_is_done_for_those_who_wait_for_several(runtime):
    """Cancelling wakes ``concurrent.futures.wait``, before and after the work has begun."""
    begun, never = submit(runtime), submit(runtime, answer)
    begun.cancel()
    never.cancel()
    assert not wait([begun, never], timeout=60).not_done


def test_stopping_leaves_no_future_open(runtime):
    """What is in work when the last user goes is done, and so is what comes too late."""
    begun, late = threading.Event(), []

    async def work(llm):
        begun.set()
        try:
            await llm.work()
        finally:
            late.extend(runtime.submit([lambda: answer(None)]))

    working = submit(runtime, work)
    assert begun.wait(timeout=60)
    runtime.release()
    assert not wait([working], timeout=60).not_done
    with pytest.raises(EngineClosedError):
        late[0].result(timeout=60)


def test_the_garbage_collector_waits_as_long_as_a_vllm_is_up(runtime, llms, thresholds):
    """From the first work to the release, also of a vLLM that came after one that died."""
    assert gc.get_threshold() == thresholds
    submit(runtime, answer).result(timeout=60)
    assert gc.get_threshold() > thresholds
    llms[0].errored = True
    assert submit(runtime, answer).result(timeout=60) is llms[1]
    assert gc.get_threshold() > thresholds
    runtime.release()
    assert gc.get_threshold() == thresholds


def test_the_next_vllm_waits_for_the_memory_of_the_last(runtime, llms):
    """One of equal options starts only when the one before has ended, even if that was released by the collector."""
    submit(runtime, answer).result(timeout=60)
    runtime.submit([lambda: release_in_loop(runtime)])[0].result(timeout=60)
    successor = VLLMRuntime.acquire({"model": "stub"}, admission=ADMISSION, render_processes=0)
    assert submit(successor, answer).result(timeout=60) is llms[1]
    assert llms[0].shut_down.is_set()
    assert not runtime._thread._thread.is_alive()
    successor.release()


async def release_in_loop(runtime):
    """Release from the loop's own thread, which must not wait for itself."""
    runtime.release()


def test_the_collector_may_release_while_another_engine_is_acquired(llms, monkeypatch):
    """A runtime dropped inside `acquire` does not deadlock with it."""
    abandoned = VLLMRuntime.acquire({"model": "abandoned"}, admission=ADMISSION, render_processes=0)
    make = VLLMRuntime.__init__

    def make_and_collect(self, *args, **options):
        make(self, *args, **options)
        if not abandoned._stopped:
            abandoned.release()
            gc.collect()

    monkeypatch.setattr(VLLMRuntime, "__init__", make_and_collect)
    done = threading.Event()

    def acquire():
        VLLMRuntime.acquire({"model": "other"}, admission=ADMISSION, render_processes=0).release()
        done.set()

    threading.Thread(target=acquire, daemon=True).start()
    assert done.wait(timeout=60)
