"""Results by item: what was computed, or why nothing was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.skipping import OnError, Skipped, Skipping
from jina_vllm_integrations.types import Embedding

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from jina_vllm_integrations.types import FloatArray, TokenVectors

Result: TypeAlias = Embedding | InputError
"""Of one item: its vectors, or its error, whose ``index`` is the item's position."""

T = TypeVar("T")


def kept(results: Generator[Result], skipping: Skipping) -> Generator[Embedding]:
    """Yield what was computed. A bad item's error is raised, or the item left out."""
    with closing(results):
        for result in results:
            if isinstance(result, InputError):
                skipping.leave_out(result)
            else:
                yield result


async def akept(results: AsyncGenerator[Result], skipping: Skipping) -> AsyncGenerator[Embedding]:
    """Do as `kept`, without blocking the event loop."""
    async with aclosing(results):
        async for result in results:
            if isinstance(result, InputError):
                skipping.leave_out(result)
            else:
                yield result


class Stream(Iterator[T]):
    """The vectors of an iterable of items, in order, each when it is computed.

    Args:
        results: Of the items.
        part: What is wanted of an embedding.
        on_error: What to do about a bad item.

    Attributes:
        skipped: What was left out so far.
    """

    def __init__(self, results: Generator[Result], part: Callable[[Embedding], T], on_error: OnError) -> None:
        skipping = Skipping(on_error)
        self.skipped: list[Skipped] = skipping.skipped
        self._kept = kept(results, skipping)
        self._part = part

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self._part(next(self._kept))

    def close(self) -> None:
        """Cancel what is in flight."""
        self._kept.close()


class AsyncStream(AsyncIterator[T]):
    """Does as `Stream`, without blocking the event loop."""

    def __init__(self, results: AsyncGenerator[Result], part: Callable[[Embedding], T], on_error: OnError) -> None:
        skipping = Skipping(on_error)
        self.skipped: list[Skipped] = skipping.skipped
        self._kept = akept(results, skipping)
        self._part = part

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return self._part(await anext(self._kept))

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        await self._kept.aclose()


def dense_of(embedding: Embedding) -> FloatArray:
    """Return the dense vector, which was asked for. *Shape:* ``(dimensions,)``, float32."""
    assert embedding.dense is not None
    return embedding.dense


def tokens_of(embedding: Embedding) -> TokenVectors:
    """Return the token vectors, which were asked for."""
    assert embedding.tokens is not None
    return embedding.tokens


def both_of(embedding: Embedding) -> tuple[FloatArray, TokenVectors]:
    """Return the dense vector and the token vectors, which were asked for."""
    return dense_of(embedding), tokens_of(embedding)
