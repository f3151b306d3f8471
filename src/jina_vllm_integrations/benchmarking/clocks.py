"""The clock of each kind of workload: it runs in steady state, without the warm-up and without the end."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.benchmarking.items import Supply, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jina_vllm_integrations.benchmarking.conditions import Conditions
    from jina_vllm_integrations.benchmarking.workloads import Calls
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.results import Stream
    from jina_vllm_integrations.types import Item, Output

# Results that came together are taken in microseconds.
_WAIT_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What a clock saw.

    Attributes:
        total: The work that was done.
        seconds: For how long.
        each_second: The work of a second.
        latencies: Of each call, in seconds.
    """

    total: Work
    seconds: float
    each_second: Work
    latencies: Sequence[float] = ()


def warm_up(encoder: JinaEncoder, supply: Supply, conditions: Conditions, *, batch_size: int) -> float:
    """Embed some items twice: the first time starts and warms the engine.

    Returns:
        The pace of the second time, in items a second.
    """
    embed = _embed(encoder, conditions)
    n_calls = math.ceil(conditions.warmup / batch_size)
    supply.prepare(2 * n_calls * batch_size)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for _ in range(n_calls):
            embed(supply.take(batch_size)[0])
        seconds = time.perf_counter() - start
    return n_calls * batch_size / seconds


def time_calls(encoder: JinaEncoder, calls: Calls, supply: Supply, conditions: Conditions) -> Timed:
    """Let callers work, each with one batch in flight, and add up what each does a second of waiting."""
    embed = _embed(encoder, conditions)
    interrupted = threading.Event()

    def caller() -> tuple[Work, list[float]]:
        total = Work()
        latencies: list[float] = []
        start = time.perf_counter()
        while not interrupted.is_set():
            items, work = supply.take(calls.batch_size)
            sent = time.perf_counter()
            embed(items)
            latencies.append(time.perf_counter() - sent)
            total += work
            if conditions.are_met(total.items * calls.concurrency, time.perf_counter() - start):
                break
        return total, latencies

    with ThreadPoolExecutor(calls.concurrency) as executor:
        futures = [executor.submit(caller) for _ in range(calls.concurrency)]
        try:
            callers = [future.result() for future in futures]
        finally:
            interrupted.set()
    return Timed(
        total=sum((total for total, _ in callers), Work()),
        seconds=max(sum(latencies) for _, latencies in callers),
        each_second=sum((total.per(sum(latencies)) for total, latencies in callers), Work()),
        latencies=[latency for _, latencies in callers for latency in latencies],
    )


def time_stream(encoder: JinaEncoder, supply: Supply, conditions: Conditions) -> Timed:
    """Feed a stream, and count its results once the engine is full and as long as it is."""
    with _full_stream(encoder, supply, conditions) as results:
        return _counted(results, conditions, longest_burst=encoder.engine.max_in_flight)


def time_queries_beside(encoder: JinaEncoder, supply: Supply, conditions: Conditions, queries: Supply) -> Timed:
    """Do as `time_stream`, and time one query after the other meanwhile."""
    over = threading.Event()

    def ask() -> list[float]:
        latencies: list[float] = []
        while not latencies or not over.is_set():
            items, _ = queries.take(1)
            sent = time.perf_counter()
            encoder.embed(items, role="query")
            latencies.append(time.perf_counter() - sent)
        return latencies

    with ThreadPoolExecutor(1) as executor, _full_stream(encoder, supply, conditions) as results:
        asked = executor.submit(ask)
        try:
            timed = _counted(results, conditions, longest_burst=encoder.engine.max_in_flight)
        finally:
            over.set()
        latencies = asked.result()
    return Timed(total=timed.total, seconds=timed.seconds, each_second=timed.each_second, latencies=latencies)


@contextmanager
def _full_stream(encoder: JinaEncoder, supply: Supply, conditions: Conditions) -> Iterator[Iterator[Work]]:
    """Yield the work of each result of a stream, after those of the warm-up. The end cancels what is in flight."""
    in_flight: deque[Work] = deque()

    def items() -> Iterator[Item]:
        for item, work in supply:
            in_flight.append(work)
            yield item

    with closing(_stream(encoder, conditions)(items())) as vectors:
        results = (in_flight.popleft() for _ in vectors)
        for _ in islice(results, conditions.warmup):
            pass
        supply.n_made_late = 0
        yield results


def _counted(results: Iterator[Work], conditions: Conditions, *, longest_burst: int) -> Timed:
    """Count from the first result of a burst to the first of a later one: many that come at once took one wait."""
    arrivals = _arrivals(results)
    for _, is_first in islice(arrivals, longest_burst):
        if is_first:
            break
    start = time.perf_counter()
    total, seconds, n_beyond = Work(), 0.0, 0
    for work, is_first in arrivals:
        total += work
        seconds = time.perf_counter() - start
        n_beyond += conditions.are_met(total.items, seconds)
        if n_beyond and (is_first or n_beyond > longest_burst):
            break
    return Timed(total=total, seconds=seconds, each_second=total.per(seconds))


def _arrivals(results: Iterator[Work]) -> Iterator[tuple[Work, bool]]:
    """Yield results, and whether each is the first of a burst: one that was waited for."""
    while True:
        asked = time.perf_counter()
        work = next(results)
        yield work, time.perf_counter() - asked > _WAIT_SECONDS


def _embed(encoder: JinaEncoder, conditions: Conditions) -> Callable[[Sequence[Item]], object]:
    ways = {"dense": encoder.embed, "tokens": encoder.embed_tokens, "both": encoder.embed_both}
    way: Callable[..., object] = ways[conditions.output]
    return lambda items: way(items, role=conditions.role)


def _stream(encoder: JinaEncoder, conditions: Conditions) -> Callable[[Iterator[Item]], Stream[Any]]:
    ways: dict[Output, Callable[..., Stream[Any]]] = {
        "dense": encoder.stream,
        "tokens": encoder.stream_tokens,
        "both": encoder.stream_both,
    }
    way = ways[conditions.output]
    return lambda items: way(items, role=conditions.role)
