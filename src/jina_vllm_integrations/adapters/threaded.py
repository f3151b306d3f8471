"""What blocks, iterated by a coroutine."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

_Each = TypeVar("_Each")

_END = object()


async def iterated(generator: Generator[_Each]) -> AsyncGenerator[_Each]:
    """Yield what a generator does, which works in a thread of its own.

    Cancelling stops the work after the element that it is at, without waiting for it; then the generator is closed.
    """
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(max_workers=1)  # so it is closed after an element, never during it
    try:
        while (element := await loop.run_in_executor(worker, next, generator, _END)) is not _END:
            yield element  # type: ignore[misc]  # it is no end
    finally:
        worker.submit(generator.close)
        worker.shutdown(wait=False)
