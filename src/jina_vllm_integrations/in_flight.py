"""Requests in flight: results in order, as many at once as pay, none left running when the caller leaves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import wait
from contextlib import contextmanager
from itertools import count, islice
from typing import TYPE_CHECKING, TypeVar

from jina_vllm_integrations.errors import EngineError
from jina_vllm_integrations.positions import naming

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
    from concurrent.futures import Future

    from jina_vllm_integrations.types import Embedding

T = TypeVar("T")

# Requests are submitted, and their results awaited, in lots: waking a thread costs as much as a short text.
_LOT = 64
# A slow iterable is not waited for longer than this before what it gave is submitted.
_LOT_SECONDS = 0.005


def in_order(
    requests: Iterator[T], submit: Callable[[list[T]], list[Future[Embedding]]], limit: int
) -> Generator[Embedding]:
    """Yield the results of requests in their order.

    Args:
        requests: Read as far as there is room.
        submit: Starts the work of some requests.
        limit: How many to have in flight.

    Raises:
        InputError: That of the first request that has one; its ``index`` is the request's position.
    """
    window: deque[Future[Embedding]] = deque()
    positions = count()
    try:
        while True:
            lot = next_lot(requests, min(_LOT, limit - len(window)))
            window.extend(submit(lot))
            if not window:
                return
            if not lot or len(window) == limit:
                wait(islice(window, _LOT))
            while window and window[0].done():
                with _naming(next(positions)):
                    result = window[0].result()
                window.popleft()
                yield result
    finally:
        for future in window:
            future.cancel()


async def in_order_async(lots: AsyncIterator[list[Future[Embedding]]], limit: int) -> AsyncGenerator[Embedding]:
    """Do as `in_order` with requests that are submitted in lots, and yield a result also while a lot is awaited."""
    started: asyncio.Queue[asyncio.Future[Embedding] | None] = asyncio.Queue()
    room = asyncio.Event()
    positions = count()

    async def start() -> None:
        try:
            async for lot in lots:
                for future in lot:
                    started.put_nowait(asyncio.wrap_future(future))
                while started.qsize() >= limit:
                    room.clear()
                    await room.wait()
        finally:
            started.put_nowait(None)

    starter = asyncio.create_task(start())
    try:
        while (oldest := await started.get()) is not None:
            room.set()
            with _naming(next(positions)):
                result = await oldest
            yield result
        await starter
    finally:
        starter.cancel()
        while not started.empty():
            if (waiting := started.get_nowait()) is not None:
                waiting.cancel()


def next_lot(requests: Iterator[T], size: int) -> list[T]:
    """Return the next requests, up to a size, or those that come within a few milliseconds."""
    lot: list[T] = []
    deadline = time.monotonic() + _LOT_SECONDS
    for request in islice(requests, size):
        lot.append(request)
        if time.monotonic() > deadline:
            break
    return lot


@contextmanager
def _naming(position: int) -> Generator[None]:
    """Let an error of one request say which: the caller's fault by its index, the engine's by a note."""
    try:
        with naming(position):
            yield
    except EngineError as error:
        error.add_note(f"while item {position} was awaited")
        raise
