"""The pool's end, and its caller's: no process is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from jina_vllm_integrations.engines.rendering import launching
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from render_pools import SECONDS, TOKEN_IDS, ended, living, running, until


@pytest.mark.parametrize("has_server", [True, False], ids=["with", "without"])
def test_closing_ends_all_processes(stub_server, has_server):
    """White box, for the fork server's id: workers end with or without a fork server to end them."""

    async def scenario():
        async with running() as pool:
            pids = [pool._process.pid, *pool.pids]
            if not has_server:
                os.kill(pids[0], signal.SIGKILL)
        await ended(pids)

    asyncio.run(scenario())


CALLER = """
import asyncio, subprocess, sys
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from stub_fork_server import stub_command

async def main():
    start = subprocess.Popen
    subprocess.Popen = lambda command, **options: start(stub_command(command), **options)
    pool = RenderPool({"mood": "healthy"}, 2)
    pool.start([1, 2, 3])
    while len(pool.pids) < 2:
        await asyncio.sleep(0.01)
    print(pool._process.pid, *pool.pids, flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "exits"])
def test_a_caller_that_does_not_close_leaves_no_process(is_killed):
    """White box, for the fork server's id: a caller may end in any way, and its processes hear of it."""
    with subprocess.Popen(
        [sys.executable, "-c", CALLER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as caller:
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(living(pids)) == 3
        if is_killed:
            caller.kill()
        else:
            caller.stdin.write(b"go\n")
    asyncio.run(ended(pids))


RUNTIME = """
import atexit, subprocess
from jina_vllm_integrations.engines.admission import Admission
from jina_vllm_integrations.engines.vllm_runtime import VLLMRuntime
from stub_fork_server import stub_command

start = subprocess.Popen
subprocess.Popen = lambda command, **options: start(stub_command(command), **options)
admission = Admission(batch_tokens=512, cell_pixels=784, page_pixels=602112, n_rendered=2)
runtime = VLLMRuntime.acquire({"mood": "healthy"}, admission=admission, render_processes=2)
atexit.register(runtime.release)
pool = runtime.render_pool
runtime.submit([lambda: pool.started([1, 2, 3])])[0].result()
print(pool._process.pid, *pool.pids)
"""


def test_a_script_that_never_closes_ends_and_leaves_no_process():
    """At the interpreter's exit no thread pool takes work any more, and the processes are ended all the same."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", RUNTIME], env=environment, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    asyncio.run(ended([int(pid) for pid in finished.stdout.split()]))
    assert "Traceback" not in finished.stderr


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_closing_ends_all_processes_though_a_fork_of_the_caller_lives(stub_server):
    """A fork holds the caller's ends of all channels, and may outlive the pool: multiprocessing's are such forks."""

    async def scenario():
        async with running() as pool:
            pids = [pool._process.pid, *pool.pids]
            if (fork := os.fork()) == 0:
                signal.pause()
        try:
            await ended(pids)
        finally:
            os.kill(fork, signal.SIGKILL)
            await until(lambda: os.waitpid(fork, os.WNOHANG)[0])

    asyncio.run(scenario())


def test_closing_does_not_wait_for_a_fork_server_that_does_not_come_up(stub_server, monkeypatch):
    """White box, for its id: vLLM takes many seconds to import."""
    monkeypatch.setattr(launching, "_SECONDS_TO_END", 0.1)

    async def scenario():
        async with asyncio.timeout(SECONDS):
            pool = RenderPool({"mood": "endless"}, 2)
            pool.start(TOKEN_IDS)
            await pool.close()
            assert not living([pool._process.pid])

    asyncio.run(scenario())
