"""Requests in flight: results in order, as many at once as pay, none left running when the caller leaves."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
    from concurrent.futures import Future

    from jina_vllm_integrations.types import Embedding


def in_order(futures: Iterator[Future[Embedding]], limit: int) -> Generator[Embedding]:
    """Yield the results of futures in their order.

    Args:
        futures: Each is started by being taken from here.
        limit: How many to have in flight.

    Raises:
        InputError: That of the first future that has one; its ``index`` is the future's position.
    """
    window: deque[Future[Embedding]] = deque()
    positions = count()

    def oldest() -> Embedding:
        with _naming(next(positions)):
            result = window[0].result()
        window.popleft()
        return result

    try:
        for future in futures:
            window.append(future)
            while len(window) >= limit or (window and window[0].done()):
                yield oldest()
        while window:
            yield oldest()
    finally:
        for future in window:
            future.cancel()


async def in_order_async(futures: AsyncIterator[Future[Embedding]], limit: int) -> AsyncGenerator[Embedding]:
    """Do as `in_order`, and yield a result also while the next future is awaited."""
    started: asyncio.Queue[asyncio.Future[Embedding] | None] = asyncio.Queue()
    slots = asyncio.Semaphore(limit)
    positions = count()

    async def start() -> None:
        try:
            async for future in futures:
                started.put_nowait(asyncio.wrap_future(future))
                await slots.acquire()
        finally:
            started.put_nowait(None)

    starter = asyncio.create_task(start())
    try:
        while (oldest := await started.get()) is not None:
            with _naming(next(positions)):
                result = await oldest
            slots.release()
            yield result
        await starter
    finally:
        starter.cancel()
        while not started.empty():
            if (waiting := started.get_nowait()) is not None:
                waiting.cancel()


@contextmanager
def _naming(position: int) -> Generator[None]:
    try:
        yield
    except InputError as error:
        error.index = position
        raise
