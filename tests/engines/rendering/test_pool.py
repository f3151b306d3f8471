"""The pool of processes that render, with the real fork server and workers around a renderer that needs no vLLM."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from PIL import Image

import stub_fork_server
from jina_vllm_integrations import EngineError, ImageFormatError, ImageNotFoundError
from jina_vllm_integrations.engines.rendering import jobs
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from jina_vllm_integrations.foundation.channel import unpack
from jina_vllm_integrations.foundation.opening import Beneath
from jina_vllm_integrations.images import inspect
from pictures import encoded
from render_pools import (
    HANDFUL,
    SECONDS,
    TOKEN_IDS,
    all_rendered,
    memory_files,
    noise,
    number,
    numbered,
    running,
    settled,
    signal_all,
    square,
    until,
)


def test_answers_belong_to_their_images_and_all_processes_work(stub_server):
    """However many images there are for each process, nobody gets another's pixels or prompt."""

    async def scenario():
        async with running() as pool:
            answers = await all_rendered(pool, numbered(100))
            assert [number(answer) for answer in answers] == list(range(100))
            assert all(answer["prompt_token_ids"] == TOKEN_IDS for answer in answers)
            assert {answer["pid"] for answer in answers} == set(pool.pids)

    asyncio.run(scenario())


def test_processes_are_started_for_more_than_a_handful_at_once(stub_server):
    """So many images one after the other, or so many at once, start nothing; one more does, and only once."""
    before = {process.pid for process in psutil.Process().children()}

    def started():
        return {process.pid for process in psutil.Process().children()} - before

    async def scenario():
        pool = RenderPool({"mood": "healthy"}, 2)
        with ExitStack() as images:
            for _ in range(HANDFUL):
                images.enter_context(pool.expecting(TOKEN_IDS))
        with ExitStack() as images:
            for _ in range(HANDFUL):
                images.enter_context(pool.expecting(TOKEN_IDS))
            assert not started()
            for _ in range(HANDFUL):
                images.enter_context(pool.expecting(TOKEN_IDS))
            assert len(started()) == 1
            await until(lambda: len(pool.pids) == 2)
        await pool.close()
        assert not started()

    asyncio.run(scenario())


def test_a_pool_of_no_process_starts_none():
    """Who asked for threads gets threads."""

    async def scenario():
        pool = RenderPool({}, 0)
        before = psutil.Process().children()
        with ExitStack() as images:
            for _ in range(2 * HANDFUL):
                images.enter_context(pool.expecting(TOKEN_IDS))
            assert psutil.Process().children() == before
            assert not pool.ready
        await pool.close()

    asyncio.run(scenario())


def test_a_bad_image_is_its_own_fault(stub_server):
    """What the renderer raises comes with the image's name; nobody dies of it."""

    async def scenario():
        async with running() as pool:
            pids = pool.pids
            truncated = inspect(encoded(noise(0), "JPEG")[:2000])
            images = [*numbered(3), truncated, square(stub_fork_server.CLUMSY), *numbered(3)]
            tasks = [asyncio.create_task(pool.render(image, TOKEN_IDS)) for image in images]
            await asyncio.wait(tasks, timeout=SECONDS)
            with pytest.raises(ImageFormatError, match="'bytes'"):
                tasks[3].result()
            with pytest.raises(EngineError, match=r"could not render '<PIL image>': ZeroDivisionError\('clumsy'\)"):
                tasks[4].result()
            assert [number(task.result()) for task in (*tasks[:3], *tasks[5:])] == [0, 1, 2, 0, 1, 2]
            assert pool.pids == pids

    asyncio.run(scenario())


def test_an_image_that_comes_as_the_last_process_goes_does_not_wait_for_ever(stub_server, monkeypatch):
    """White box: the pool gave up while the image was packed."""

    async def scenario():
        async with running(size=1) as pool:
            pool._options["mood"] = "broken"
            os.kill(pool._process.pid, signal.SIGKILL)
            await until(lambda: pool._server is None)
            pids, packed = pool.pids, jobs._packed

            def packed_too_late(image, token_ids):
                signal_all(pids, signal.SIGKILL)
                while not pool._failed:
                    time.sleep(0.01)
                return packed(image, token_ids)

            monkeypatch.setattr(jobs, "_packed", packed_too_late)
            with pytest.raises(EngineError, match="Lower InProcessEngine's render_processes"):
                await all_rendered(pool, numbered(1))

    asyncio.run(scenario())


def test_a_relative_path_is_read_where_the_caller_was(stub_server, monkeypatch, tmp_path):
    """The processes stay in the folder that they were started in; the caller may change its own."""
    (tmp_path / "there").mkdir()

    async def scenario():
        async with running() as pool:
            monkeypatch.chdir(tmp_path / "there")
            for index in range(3):
                Image.new("RGB", (8, 8), (0, 0, 1 + index)).save(f"{index}.png")
            answers = await all_rendered(pool, [inspect(Path(f"{index}.png")) for index in range(3)])
        assert [number(answer) for answer in answers] == [0, 1, 2]

    asyncio.run(scenario())


def test_cancelled_images_leave_nothing_and_harm_nobody(stub_server):
    """Whether they wait or are in work: the others are right, and no descriptor stays open."""

    async def scenario():
        files = memory_files()
        async with running() as pool:
            signal_all(pool.pids, signal.SIGSTOP)
            tasks = [asyncio.create_task(pool.render(image, TOKEN_IDS)) for image in numbered(12)]
            await until(lambda: len(pool._waiting) == 8)
            for task in tasks[::2]:
                task.cancel()
            signal_all(pool.pids, signal.SIGCONT)
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
            assert [number(answer) for answer in answers[1::2]] == list(range(12))[1::2]
            assert [number(answer) for answer in await all_rendered(pool, numbered(9))] == list(range(9))
        del answers, tasks
        await until(lambda: memory_files() == files)  # the event loop, too, must let go of the last answers

    asyncio.run(scenario())


def test_images_cancelled_while_they_are_packed_leave_no_descriptor(stub_server, monkeypatch):
    """White box: a thread that packs cannot be stopped; what it packed is let go."""
    pack, cancelled, packed = jobs._packed, threading.Event(), []

    def packed_when_cancelled(image, token_ids):
        assert cancelled.wait(SECONDS)
        parcel = pack(image, token_ids)
        packed.append(parcel)
        return parcel

    monkeypatch.setattr(jobs, "_packed", packed_when_cancelled)

    async def scenario():
        files = memory_files()
        async with running(size=1) as pool:
            tasks = [asyncio.create_task(pool.render(image, TOKEN_IDS)) for image in numbered(2)]
            await settled()
            for task in tasks:
                task.cancel()
            await settled()
            cancelled.set()
            await asyncio.wait(tasks)
            await until(lambda: len(packed) == 2 and memory_files() == files)

    asyncio.run(scenario())


def test_a_process_does_not_follow_a_link_that_took_the_place_of_an_image(tmp_path):
    """White box: an image beneath a folder travels as such, so whoever opens it at last finds out where it is."""
    (tmp_path / "private.png").write_bytes(encoded(noise(1), "PNG"))
    (tmp_path / "scans").mkdir()
    page = tmp_path / "scans" / "page.png"
    page.write_bytes(encoded(noise(2), "PNG"))
    handle = inspect(Beneath.one_of([tmp_path / "scans"], page))
    parcels = [jobs._packed(handle, TOKEN_IDS) for _ in range(2)]
    assert unpack(parcels[0])[0].load() == noise(2)
    page.unlink()
    page.symlink_to(tmp_path / "private.png")
    with pytest.raises(ImageNotFoundError, match="leads out of"):
        unpack(parcels[1])[0].load()
