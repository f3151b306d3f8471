"""Pools of the stub's processes, and pictures for them."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from jina_vllm_integrations.engines.rendering.pool import RenderPool
from jina_vllm_integrations.images import inspect

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


def square(colour=(0, 0, 0), side=8):
    """Return an image of one colour."""
    return inspect(Image.new("RGB", (side, side), colour))


def numbered(count):
    """Return images that differ."""
    return [square((0, 0, 1 + number)) for number in range(count)]


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
