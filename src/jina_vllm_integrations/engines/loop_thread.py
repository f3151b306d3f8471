"""An event loop in a thread of its own, and futures of what runs on it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

T = TypeVar("T")


class LoopThread:
    """A daemon thread that runs an event loop until it is told to `end`.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._refusal: Callable[[], Exception] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, functions: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[Future[T]]:
        """Call coroutine functions on the loop. Cancelling a future cancels its coroutine."""
        futures: list[Future[T]] = [Future() for _ in functions]
        # One call for all of them: waking the loop for each would cost as much as a short text.
        self._loop.call_soon_threadsafe(self._start_tasks, functions, futures)
        return futures

    def end(self, last: Callable[[], Coroutine[Any, Any, None]], *, refusal: Callable[[], Exception]) -> None:
        """Call a last coroutine function and stop, and wait for that unless this is the loop's own thread.

        Args:
            last: What is to be done before.
            refusal: What the futures of all that is submitted from now on get.
        """
        self._refusal = refusal
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        if threading.current_thread() is not self._thread:
            self.join()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await last()
        finally:
            self._loop.stop()

    def _start_tasks(
        self, functions: Sequence[Callable[[], Coroutine[Any, Any, T]]], futures: Sequence[Future[T]]
    ) -> None:
        for function, future in zip(functions, futures, strict=True):
            if self._refusal is not None:
                future.set_exception(self._refusal())
            elif not future.cancelled():
                task = self._loop.create_task(function())
                task.add_done_callback(partial(_settle, future))
                future.add_done_callback(partial(self._cancel_with, task))
            else:
                future.set_running_or_notify_cancel()

    def _cancel_with(self, task: asyncio.Task[Any], future: Future[Any]) -> None:
        if future.cancelled() and not task.done():
            self._loop.call_soon_threadsafe(task.cancel)


def _settle(future: Future[T], task: asyncio.Task[T]) -> None:
    """Put into a future what a task came to, unless the future was cancelled meanwhile."""
    if task.cancelled():
        future.cancel()
    error = None if task.cancelled() else task.exception()
    if not future.set_running_or_notify_cancel():  # tells those who wait for several futures, as cancel() does not
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())
