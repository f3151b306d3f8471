"""An engine of vLLM whose images are rendered in processes: the same vectors, the same errors."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import psutil
import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import ImageFormatError, InProcessEngine, JinaEncoder
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from pictures import encoded
from render_pools import HANDFUL, SECONDS, living, noise, until


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
