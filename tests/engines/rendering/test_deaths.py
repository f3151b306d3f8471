"""Processes that die while they render: images survive, or are named."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import psutil
import pytest

import stub_fork_server
from jina_vllm_integrations import EngineError
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from jina_vllm_integrations.foundation import channel
from render_pools import SECONDS, TOKEN_IDS, all_rendered, number, numbered, running, signal_all, square, until


def test_an_image_that_kills_its_process_twice_is_named(stub_server, caplog):
    """It gets one more try, then an error with the remedy; what was in work beside it is done by others."""

    async def scenario():
        async with running() as pool:
            pids = set(pool.pids)
            images = [*numbered(5), square(stub_fork_server.DEADLY), *numbered(5)]
            tasks = [asyncio.create_task(pool.render(image, TOKEN_IDS)) for image in images]
            await asyncio.wait(tasks, timeout=SECONDS)
            with pytest.raises(EngineError, match=r"two render processes died over '<PIL image>'.*Leave the image out"):
                tasks[5].result()
            assert [number(task.result()) for task in (*tasks[:5], *tasks[6:])] == [*range(5), *range(5)]
            await until(lambda: len(pool.pids) == 2)
            assert len(pids - set(pool.pids)) >= 1
            assert [number(answer) for answer in await all_rendered(pool, numbered(9))] == list(range(9))

    asyncio.run(scenario())
    assert [record.levelname for record in caplog.records if "died; starting another" in record.message] == [
        "WARNING",
        "WARNING",
    ]


def test_a_killed_process_is_replaced_and_its_images_are_done(stub_server):
    """The one that is killed held images, as it was stopped before."""

    async def scenario():
        async with running() as pool:
            victim, other = pool.pids
            os.kill(victim, signal.SIGSTOP)
            rendering = asyncio.create_task(all_rendered(pool, numbered(20)))
            await until(lambda: any(worker.jobs for worker in pool._workers if worker.pid == victim))
            os.kill(victim, signal.SIGKILL)
            answers = await rendering
            assert [number(answer) for answer in answers] == list(range(20))
            await until(lambda: len(pool.pids) == 2)
            assert victim not in pool.pids
            assert other in pool.pids

    asyncio.run(scenario())


def test_without_the_fork_server_the_others_go_on_and_are_replaced(stub_server):
    """White box, for the fork server's id: images still come, and so does another fork server when it is needed."""

    async def scenario():
        async with running() as pool:
            pids = pool.pids
            os.kill(pool._process.pid, signal.SIGKILL)
            await until(lambda: pool._server is None)
            assert [number(answer) for answer in await all_rendered(pool, numbered(20))] == list(range(20))
            assert pool.pids == pids
            os.kill(pids[0], signal.SIGKILL)
            await until(lambda: len(pool.pids) == 2 and pids[0] not in pool.pids)
            assert pids[1] in pool.pids
            assert [number(answer) for answer in await all_rendered(pool, numbered(20))] == list(range(20))

    asyncio.run(scenario())


@pytest.mark.parametrize("order", ["fork server first", "fork server last", "fork server in the middle of a start"])
def test_images_survive_the_death_of_all_processes(stub_server, order):
    """White box, for the fork server's id: whoever dies first, what was in work is done by new processes."""

    async def scenario():
        async with running() as pool:
            pids, server = pool.pids, pool._process.pid
            signal_all(pids, signal.SIGSTOP)
            rendering = asyncio.create_task(all_rendered(pool, numbered(9)))
            await until(lambda: all(worker.jobs for worker in pool._workers))
            if order == "fork server in the middle of a start":
                os.kill(server, signal.SIGSTOP)
                signal_all(pids, signal.SIGKILL)
                await until(lambda: not pool.pids)
                os.kill(server, signal.SIGKILL)
            else:
                signal_all([server, *pids] if order == "fork server first" else [*pids, server], signal.SIGKILL)
            assert [number(answer) for answer in await rendering] == list(range(9))
            await until(lambda: len(pool.pids) == 2)
            assert not {*pids, server} & {*pool.pids, pool._process.pid}

    asyncio.run(scenario())


@pytest.mark.parametrize("mood", ["broken", "childless"])
def test_processes_that_do_not_start_are_reported_once(stub_server, mood, caplog):
    """White box: the log tells the remedy, images are rendered by threads, and no further start is tried."""

    async def scenario():
        pool = RenderPool({"mood": mood}, 2)
        pool.start(TOKEN_IDS)
        await until(lambda: caplog.records and not pool._workers)
        before = set(psutil.Process().children())
        pool.start(TOKEN_IDS)
        assert set(psutil.Process().children()) <= before
        assert not pool.ready
        await pool.close()

    asyncio.run(scenario())
    (error,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert "render processes do not start" in error
    assert "Lower InProcessEngine's render_processes; 0 renders in threads of this process." in error


def test_an_answer_that_is_lost_is_rendered_again(stub_server, monkeypatch, caplog):
    """White box: without memory or descriptors to receive one, those after it are not taken for it."""
    unpack, refused = channel.unpack, iter([False] * 7 + [True])

    def unpack_but_once(parcel):
        if next(refused, False):
            os.close(parcel.descriptor)
            raise OSError(24, "Too many open files")
        return unpack(parcel)

    async def scenario():
        async with running() as pool:
            monkeypatch.setattr(channel, "unpack", unpack_but_once)
            answers = await all_rendered(pool, numbered(30))
            await until(lambda: len(pool.pids) == 2)
        assert [number(answer) for answer in answers] == list(range(30))

    asyncio.run(scenario())
    assert "a message of a render process was lost" in caplog.text
