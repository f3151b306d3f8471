"""Requests in, an engine's answers out, in order and one for each."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from jina_vllm_integrations.encoding.in_flight import in_order, in_order_async
from jina_vllm_integrations.types import Embedding, ImagePrompt, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Sequence

    from jina_vllm_integrations.encoding.engine import Engine
    from jina_vllm_integrations.encoding.results import Result

_TEXTS_OF_AN_IMAGE = 4


def answers(engine: Engine, requests: Iterable[Request | Embedding | Exception]) -> Generator[Result]:
    """Yield an engine's answers to requests of any number, in the memory of those in flight.

    Args:
        engine: Who computes.
        requests: An `Embedding` that is known or an `InputError` in the place of one is its answer; another exception
            is raised in its turn.
    """
    return in_order(iter(requests), lambda lot: _submitted(engine, lot), engine.max_in_flight, _weight)


def answers_async(
    engine: Engine, lots: AsyncIterator[Sequence[Request | Embedding | Exception]]
) -> AsyncGenerator[Result]:
    """Do as `answers` to requests that come in lots, without blocking the event loop."""
    return in_order_async(lots, lambda lot: _submitted(engine, lot), engine.max_in_flight, _weight)


def _submitted(engine: Engine, lot: Sequence[Request | Embedding | Exception]) -> list[Future[Embedding]]:
    started = iter(engine.submit([request for request in lot if isinstance(request, Request)]))
    return [next(started) if isinstance(request, Request) else _answered(request) for request in lot]


def _answered(answer: Embedding | Exception) -> Future[Embedding]:
    future: Future[Embedding] = Future()
    if isinstance(answer, Embedding):
        future.set_result(answer)
    else:
        future.set_exception(answer)
    return future


def _weight(request: Request | Embedding | Exception) -> int:
    """Return how many texts of those in flight a request counts: an image keeps the engine busy for longer."""
    return _TEXTS_OF_AN_IMAGE if isinstance(request, Request) and isinstance(request.prompt, ImagePrompt) else 1
