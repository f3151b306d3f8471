"""Images read and decoded in several threads, which neither a network nor a decoder keeps from it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

# One image may take three copies of it for a moment.
_MOST_THREADS = 8


def in_threads(function: Callable[[T], R], values: Iterable[T], n_images: int) -> Iterator[R]:
    """Yield a function's results in order, each when it is taken, and compute those of the next few meanwhile.

    Args:
        function: Its first exception ends the iterator.
        values: Any number.
        n_images: How many of them are worth a thread. For one there is none.
    """
    if n_images <= 1:
        yield from map(function, values)
        return
    threads = ThreadPoolExecutor(min(n_images, _MOST_THREADS), thread_name_prefix="images")
    ahead: deque[Future[R]] = deque()
    try:
        for value in values:
            ahead.append(threads.submit(function, value))
            if len(ahead) > _MOST_THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Whoever leaves may be an event loop, which must not wait for what is in work.
        threads.shutdown(wait=False, cancel_futures=True)
