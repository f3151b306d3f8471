"""Images rendered in processes of their own: what these send each other, how they die, and the vectors that come of it.

The pool is tried with the real fork server and workers around a renderer that needs no vLLM (`stub_fork_server`), and
once as a whole, with vLLM's.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import stub_fork_server
from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import EngineError, ImageFormatError, InProcessEngine, JinaEncoder
from jina_vllm_integrations.engines.rendering import channel, jobs, launching
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from jina_vllm_integrations.images import inspect
from pictures import encoded

SECONDS = 120
TOKEN_IDS = [1, 2, 3]
HANDFUL = 8


def memory_files():
    """Return how many descriptors of messages this process holds, those of arrays that it has included."""
    gc.collect()
    # Listing has a descriptor of its own, which is closed by now.
    return sum(
        "jina-vllm" in str(path.readlink()) for path in list(Path("/proc/self/fd").iterdir()) if path.is_symlink()
    )


def mapped_messages():
    """Return how many messages this process has in its memory."""
    gc.collect()
    return Path("/proc/self/maps").read_text().count("jina-vllm")


def round_trip(value):
    """Send an object through a channel to oneself."""
    ours, theirs = channel.connection()
    with ours, theirs:
        parcel = channel.pack(value)
        channel.send(ours, parcel)
        os.close(parcel.descriptor)
        return channel.unpack(channel.receive(theirs))


# ---- the channel


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.arange(12).reshape(3, 4).T,
        np.zeros((0, 7), dtype=np.uint8),
        np.array(3.5),
        np.array(["a", "bc"]),
    ],
    ids=["float32", "Fortran order", "empty", "0-d", "strings"],
)
def test_arrays_arrive_as_they_were(array):
    """Values, types and shapes are those of the sender."""
    arrived = round_trip({"first": array, "second": [array]})
    for copy in (arrived["first"], arrived["second"][0]):
        np.testing.assert_array_equal(copy, array, strict=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(5, 3), (1,), (), (0, 4)])
def test_tensors_arrive_as_they_were(dtype, shape):
    """That includes types that NumPy does not have, tensors without dimensions and without elements."""
    tensor = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    arrived = round_trip([tensor, tensor.flip(0) if shape else tensor])
    assert [each.dtype for each in arrived] == [dtype, dtype]
    assert arrived[0].shape == tensor.shape
    assert torch.equal(arrived[0], tensor)
    assert torch.equal(arrived[1], tensor.flip(0) if shape else tensor)


def test_a_tensor_that_is_a_part_of_another_arrives_alone():
    """A transposed slice comes with its own elements."""
    tensor = torch.arange(24).reshape(4, 6)[:, 1:3].T
    assert torch.equal(round_trip(tensor), tensor)


@pytest.mark.parametrize("content", [b"", b"x" * (3 * 2**20)], ids=["empty", "3 MiB"])
def test_bytes_of_any_size_arrive(content):
    """A message may be larger than a socket's buffer."""
    assert round_trip(content) == content


def test_an_array_of_many_megabytes_arrives_and_can_be_written():
    """The receiver owns what it got."""
    arrived = round_trip(np.full(2**22, 7.0))
    arrived += 1
    assert arrived.min() == arrived.max() == 8


def test_messages_come_in_order_and_end_with_the_sender():
    """What was sent is read even after the sender has gone."""
    ours, theirs = channel.connection()
    with theirs:
        with ours:
            for number in range(3):
                parcel = channel.pack(number)
                channel.send(ours, parcel)
                os.close(parcel.descriptor)
        assert [channel.unpack(channel.receive(theirs)) for _ in range(3)] == [0, 1, 2]
        assert channel.receive(theirs) is None


def test_a_socket_can_be_handed_over():
    """Two ends of a new channel work after one went through another channel."""
    (ours, theirs), (mine, yours) = channel.connection(), channel.connection()
    with ours, theirs, mine:
        channel.send_socket(ours, yours)
        yours.close()
        with channel.receive_socket(theirs) as arrived:
            parcel = channel.pack("hello")
            channel.send(mine, parcel)
            assert channel.unpack(channel.receive(arrived)) == "hello"
        os.close(parcel.descriptor)


def test_sending_to_nobody_raises():
    """A sender learns that the other end is closed."""
    ours, theirs = channel.connection()
    theirs.close()
    parcel = channel.pack("hello")
    with ours, pytest.raises(OSError, match="Broken pipe"):
        channel.send(ours, parcel)
    os.close(parcel.descriptor)


def test_nothing_is_left_of_messages():
    """Memory and descriptors go with the last array; those of a message without arrays at once."""
    files, messages = memory_files(), mapped_messages()
    round_trip("no array")
    assert (memory_files(), mapped_messages()) == (files, messages)
    first, second = round_trip([np.arange(9000), torch.arange(9000)])
    assert mapped_messages() == messages + 1
    del first
    assert mapped_messages() == messages + 1
    assert second.sum() == sum(range(9000))
    del second
    assert (memory_files(), mapped_messages()) == (files, messages)


# ---- the pool, with a renderer that needs no vLLM


@pytest.fixture
def stub_server(monkeypatch):
    """Let pools start the stub."""
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **options: start(stub_fork_server.stub_command(command), **options)
    )


def picture(colour=(0, 0, 0), side=8):
    """Return an image of one colour."""
    return inspect(Image.new("RGB", (side, side), colour))


def numbered(count):
    """Return images that differ."""
    return [picture((0, 0, 1 + number)) for number in range(count)]


def number(rendered):
    """Return which of the images an answer belongs to."""
    return int(rendered["pixels"][0, 0, 2]) - 1


def noise(seed, width=112, height=84, bands=3):
    """Return a picture without symmetry, another one for another seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 14, width // 14, bands), dtype=np.uint8)
    return Image.fromarray(pixels.repeat(14, axis=0).repeat(14, axis=1))


async def until(condition):
    """Wait for what nobody tells."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - processes come and go without an event
            await asyncio.sleep(0.01)


async def settled():
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(size=2, mood="healthy"):
    """Start a pool, and end it."""
    pool = RenderPool({"mood": mood}, size)
    pool.start(TOKEN_IDS)
    try:
        await until(lambda: len(pool.pids) == size)
        yield pool
    finally:
        await pool.close()


async def all_rendered(pool, images):
    """Render images at once."""
    async with asyncio.timeout(SECONDS):
        return await asyncio.gather(*(pool.render(image, TOKEN_IDS) for image in images))


def living(pids):
    """Return the processes that have not ended."""
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


async def ended(pids):
    """Wait until processes have ended."""
    await until(lambda: not living(pids))


def signal_all(pids, number):
    """Send each a signal."""
    for pid in pids:
        os.kill(pid, number)


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
            images = [*numbered(3), truncated, picture(stub_fork_server.CLUMSY), *numbered(3)]
            tasks = [asyncio.create_task(pool.render(image, TOKEN_IDS)) for image in images]
            await asyncio.wait(tasks, timeout=SECONDS)
            with pytest.raises(ImageFormatError, match="'bytes'"):
                tasks[3].result()
            with pytest.raises(EngineError, match=r"could not render '<PIL image>': ZeroDivisionError\('clumsy'\)"):
                tasks[4].result()
            assert [number(task.result()) for task in (*tasks[:3], *tasks[5:])] == [0, 1, 2, 0, 1, 2]
            assert pool.pids == pids

    asyncio.run(scenario())


def test_an_image_that_kills_its_process_twice_is_named(stub_server, caplog):
    """It gets one more try, then an error with the remedy; what was in work beside it is done by others."""

    async def scenario():
        async with running() as pool:
            pids = set(pool.pids)
            images = [*numbered(5), picture(stub_fork_server.DEADLY), *numbered(5)]
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


# ---- the whole, with vLLM's renderer


class Started(NamedTuple):
    """An engine whose render processes are up."""

    engine: InProcessEngine

    @property
    def pool(self):
        """Return its pool."""
        return self.engine._runtime.render_pool

    @property
    def server(self):
        """Return the fork server's process."""
        return self.pool._process


def fork_servers():
    """Return the fork servers below this process, and their workers."""
    children = psutil.Process().children(recursive=True)
    living = (child for child in children if child.status() != psutil.STATUS_ZOMBIE)
    return [child for child in living if "rendering.fork_server" in " ".join(child.cmdline())]


def documents(engine, items):
    """Return the vectors of documents."""
    return JinaEncoder(engine, task="retrieval").embed(items, role="document")


def pages(count):
    """Return pages that differ."""
    return [noise(seed) for seed in range(count)]


@pytest.fixture(scope="module")
def started(checkpoint):
    """Return an engine that renders in two processes, which start while vLLM does."""
    with InProcessEngine(checkpoint, render_processes=2, **ENGINE_OPTIONS) as engine:
        started = Started(engine)
        documents(engine, pages(2 * HANDFUL))
        asyncio.run(until(lambda: len(started.pool.pids) == 2))
        yield started


@pytest.fixture
def processes(started, monkeypatch):
    """Return the same engine, which must not render in threads now."""

    async def refuse(prompts):
        raise AssertionError(prompts)

    monkeypatch.setattr(started.engine._runtime._llm.renderer, "render_cmpl_async", refuse)
    return started


@pytest.fixture
def sources(tmp_path):
    """Return images of each kind that must be decoded."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "page.png").write_bytes(encoded(noise(1), "PNG"))
    samples = np.random.default_rng(2).integers(0, 2**16, (84, 112), dtype=np.uint16)
    return [
        encoded(noise(3), "JPEG"),
        encoded(noise(4, bands=4), "PNG"),
        encoded(noise(5), "JPEG", exif=exif),
        tmp_path / "page.png",
        encoded(noise(6), "WEBP"),
        noise(7),
        noise(7).convert("L"),
        encoded(Image.fromarray(samples), "PNG"),
        io.BytesIO(encoded(noise(8), "TIFF")),
        noise(9, width=700, height=560),
    ]


def test_texts_and_a_handful_of_images_start_no_process(vllm_engine, monkeypatch):
    """White box, for the session's vLLM with a pool: who embeds queries, or looks at a page, pays for no process."""
    runtime = vllm_engine._runtime
    pool = RenderPool(runtime._options, 2)
    monkeypatch.setattr(runtime, "render_pool", pool)
    before = fork_servers()
    try:
        documents(vllm_engine, [f"text {number}" for number in range(40)])
        documents(vllm_engine, [*pages(HANDFUL), *["text"] * 40])
        assert fork_servers() == before
    finally:
        runtime.submit([pool.close])[0].result()


def test_images_rendered_in_processes_give_the_same_vectors(processes, vllm_engine, sources):
    """Whatever kind an image is of, between texts or not."""
    items = [*sources, "text", *sources]
    there, here = documents(processes.engine, items), documents(vllm_engine, items)
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_token_vectors_and_their_places_are_the_same(processes, vllm_engine):
    """The multi-vector head sees the same image, in the same grid."""
    images = [noise(1), noise(2, width=280)]
    there, here = (
        JinaEncoder(engine, task="retrieval").embed_tokens(images, role="document")
        for engine in (processes.engine, vllm_engine)
    )
    for tokens, expected in zip(there, here, strict=True):
        np.testing.assert_allclose(tokens.vectors, expected.vectors, atol=1e-5)
        np.testing.assert_array_equal(tokens.token_ids, expected.token_ids)
        assert tokens.grid == expected.grid


def test_images_that_differ_get_different_vectors(processes):
    """VLLM knows an image by a name: a name that came twice would bring the first image's vector."""
    vectors = documents(processes.engine, pages(40))
    similar = vectors @ vectors.T - 2 * np.eye(40)
    assert similar.max() < 0.9999
    np.testing.assert_allclose(documents(processes.engine, pages(40)), vectors, atol=1e-5)


def test_a_bad_image_is_named_as_without_processes(processes, vllm_engine):
    """Error, index and message are the same, the results before it come, and later pages as well."""
    items = [*pages(3), encoded(noise(3), "JPEG")[:2000], *pages(20)]
    messages = []
    for engine in (processes.engine, vllm_engine):
        stream = JinaEncoder(engine, task="retrieval").stream(items, role="document")
        assert len([next(stream) for _ in range(3)]) == 3
        with pytest.raises(ImageFormatError) as streamed:
            next(stream)
        with pytest.raises(ImageFormatError) as listed:
            documents(engine, items)
        assert streamed.value.index == listed.value.index == 3
        messages += [str(streamed.value), str(listed.value)]
    assert len(set(messages)) == 1
    assert documents(processes.engine, pages(3)).shape == (3, 256)


def test_an_engine_survives_a_killed_process(processes, vllm_engine):
    """White box, to see that it holds pages: all results are there, in order, and it is replaced."""
    victim, other = processes.pool.pids
    os.kill(victim, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        vectors = thread.submit(documents, processes.engine, pages(30))
        asyncio.run(until(lambda: any(worker.jobs for worker in processes.pool._workers if worker.pid == victim)))
        os.kill(victim, signal.SIGKILL)
        np.testing.assert_allclose(vectors.result(SECONDS), documents(vllm_engine, pages(30)), atol=1e-5)
    asyncio.run(until(lambda: len(processes.pool.pids) == 2))
    assert victim not in processes.pool.pids
    assert other in processes.pool.pids


def test_closing_an_engine_leaves_no_process(started):
    """Neither those that render nor vLLM's own. The module's last."""
    left = [started.server.pid, *started.pool.pids, *(process.pid for process in started.engine._runtime._processes)]
    assert len(living(left)) == 4
    started.engine.close()
    assert not living(left)
    assert not fork_servers()
