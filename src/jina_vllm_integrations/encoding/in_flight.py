"""Requests in flight: results in order, as many at once as pay, none left running when the caller leaves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import wait
from itertools import count, islice
from typing import TYPE_CHECKING, TypeVar

from jina_vllm_integrations.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
    from concurrent.futures import Future

    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.types import Embedding

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818 - it is no error of its own
    """Takes the place of a request where the caller's iterable raised an `InputError`, which is no item's.

    Attributes:
        error: That error, which is raised in its turn.
    """

    def __init__(self, error: InputError) -> None:
        super().__init__(error)
        self.error = error


_NAMED = (InputError, Interrupted, EngineError)
# Requests are submitted, and their results awaited, in lots: waking a thread costs as much as a short text.
_LOT = 64
# A slow iterable is not waited for longer than this before what it gave is submitted.
_LOT_SECONDS = 0.005
# The results behind the oldest are not waited for longer than this before that one is handed out.
_RESULT_SECONDS = 0.02


def in_order(
    requests: Iterator[T],
    submit: Callable[[Sequence[T]], list[Future[Embedding]]],
    limit: int,
    weigh: Callable[[T], int],
) -> Generator[Result]:
    """Yield the results of requests in their order.

    Args:
        requests: Read as far as there is room.
        submit: Starts the work of some requests.
        limit: How much to have in flight.
        weigh: What a request counts.

    Returns:
        What was computed, or a request's `InputError`, whose ``index`` is the request's position.

    Raises:
        EngineError: The engine cannot answer, which is no request's fault.
        Exception: What ended the requests, after the results before it.
    """
    window: deque[tuple[Future[Embedding], int]] = deque()
    weight = 0
    positions = count()
    try:
        while True:
            lot = next_lot(requests, max(0, min(_LOT, limit - weight)))
            weights = [weigh(request) for request in lot]
            window.extend(zip(submit(lot), weights, strict=True))
            weight += sum(weights)
            if not window:
                return
            if not lot or weight >= limit:
                _wait([future for future, _ in islice(window, _LOT)])
            while window and window[0][0].done():
                position = next(positions)
                try:
                    result: Result = window[0][0].result()
                except _NAMED as error:
                    result = _own_error(error, position)
                weight -= window.popleft()[1]
                yield result
    finally:
        for future, _ in window:
            future.cancel()


async def in_order_async(
    lots: AsyncIterator[Sequence[T]],
    submit: Callable[[Sequence[T]], list[Future[Embedding]]],
    limit: int,
    weigh: Callable[[T], int],
) -> AsyncGenerator[Result]:
    """Do as `in_order` with requests that come in lots, and yield a result also while a lot is awaited."""
    started: asyncio.Queue[tuple[asyncio.Future[Embedding], int] | None] = asyncio.Queue()
    room = asyncio.Event()
    positions = count()
    weight = 0

    async def start() -> None:
        nonlocal weight
        try:
            async for lot in lots:
                for request, future in zip(lot, submit(lot), strict=True):
                    started.put_nowait((asyncio.wrap_future(future), weigh(request)))
                    weight += weigh(request)
                while weight >= limit:
                    room.clear()
                    await room.wait()
        finally:
            started.put_nowait(None)

    starter = asyncio.create_task(start())
    try:
        while (oldest := await started.get()) is not None:
            future, of_it = oldest
            position = next(positions)
            try:
                result: Result = await future
            except _NAMED as error:
                result = _own_error(error, position)
            weight -= of_it
            room.set()
            yield result
        await starter
    finally:
        starter.cancel()
        while not started.empty():
            if (waiting := started.get_nowait()) is not None:
                waiting[0].cancel()


def _wait(futures: Sequence[Future[Embedding]]) -> None:
    """Wait for the oldest, and a little for those behind it."""
    wait(futures[:1])
    wait(futures, timeout=_RESULT_SECONDS)


def next_lot(requests: Iterator[T], size: int) -> list[T]:
    """Return the next requests, up to a size, or those that come within a few milliseconds."""
    lot: list[T] = []
    deadline = time.monotonic() + _LOT_SECONDS
    for request in islice(requests, size):
        lot.append(request)
        if time.monotonic() > deadline:
            break
    return lot


def _own_error(error: Exception, position: int) -> InputError:
    """Return the error of a request itself, which says by its index which; raise what is not the request's fault.

    The engine's error says by a note what it was asked for.
    """
    if isinstance(error, InputError):
        error.index = position
        return error
    if isinstance(error, Interrupted):
        error.error.index = position
        raise error.error from error.error.__cause__
    error.add_note(f"while item {position} was awaited")
    raise error
