"""Measure a workload: its items are made, the engine is warmed, the clock runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jina_vllm_integrations.benchmarking.clocks import Timed, time_calls, time_queries_beside, time_stream, warm_up
from jina_vllm_integrations.benchmarking.devices import gpu_memory_mib
from jina_vllm_integrations.benchmarking.items import Supply
from jina_vllm_integrations.benchmarking.limits import Geometry
from jina_vllm_integrations.benchmarking.measurements import Latency, Measurement
from jina_vllm_integrations.benchmarking.memory import PeakMemory
from jina_vllm_integrations.benchmarking.workloads import Calls, Mixture, QueriesBeside, Stream, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_vllm_integrations.benchmarking.conditions import Conditions
    from jina_vllm_integrations.encoding.encoder import JinaEncoder

_WARM_QUERIES = 4


def check(encoder: JinaEncoder, workload: Workload, conditions: Conditions) -> None:
    """Check a workload without starting the engine.

    Raises:
        InputError: The encoder does not take such items.
        OptionError: There are no such items.
        CheckpointError: The checkpoint cannot give the output, or lacks what the paper limit needs.
    """
    encoder.requests([], role=conditions.role, output=conditions.output)
    _supply(encoder, workload, conditions)
    if isinstance(workload, QueriesBeside):
        _queries(encoder, workload, conditions)


def measure(encoder: JinaEncoder, workload: Workload, conditions: Conditions) -> Measurement:
    """Measure a workload. Its items are made and the engine is warmed before the clock starts.

    Args:
        encoder: Of any engine.
        workload: What is embedded, and how.
        conditions: For how long, and as what.

    Raises:
        InputError: The encoder does not take such items.
        OptionError: There are no such items.
        CheckpointError: The checkpoint cannot give the output, or lacks what the paper limit needs.
        EngineError: The engine did not start, was closed or died.
    """
    supply = _supply(encoder, workload, conditions)
    run = _prepared(encoder, workload, supply, conditions)
    with PeakMemory() as memory:
        timed = run()
    peak = conditions.peak_tflops
    return Measurement(
        workload=str(workload),
        items=int(timed.total.items),
        seconds=timed.seconds,
        items_per_second=timed.each_second.items,
        tokens_per_second=timed.each_second.tokens,
        latency=Latency.of(timed.latencies) if timed.latencies else None,
        share_of_limit=None if peak is None else timed.each_second.operations / (peak * 1e12),
        host_memory_mib=memory.mib,
        gpu_memory_mib=gpu_memory_mib(),
        items_made_late=supply.n_made_late,
    )


def _prepared(encoder: JinaEncoder, workload: Workload, supply: Supply, conditions: Conditions) -> Callable[[], Timed]:
    """Warm the engine, make the items, and return what runs the clock."""
    if isinstance(workload, Calls):
        pace = warm_up(encoder, supply, conditions, batch_size=workload.batch_size)
        n_last = workload.batch_size * workload.concurrency  # each caller ends with a call
        supply.prepare(conditions.items_wanted(pace * workload.concurrency) + n_last)
        return partial(time_calls, encoder, workload, supply, conditions)
    pace = warm_up(encoder, supply, conditions, batch_size=conditions.warmup)
    # What is in flight when the clock stops, and the bursts that it may wait for before it starts and stops.
    n_last = 3 * encoder.engine.max_in_flight
    supply.prepare(conditions.warmup + conditions.items_wanted(pace) + n_last)
    if isinstance(workload, Stream):
        return partial(time_stream, encoder, supply, conditions)
    queries = _queries(encoder, workload, conditions)
    encoder.embed(queries.take(_WARM_QUERIES)[0], role="query")
    return partial(time_queries_beside, encoder, supply, conditions, queries)


def _supply(encoder: JinaEncoder, workload: Workload, conditions: Conditions) -> Supply:
    geometry = None if conditions.peak_tflops is None else Geometry.read(encoder.engine.checkpoint)
    return Supply(encoder, workload.mixture, conditions, geometry)


def _queries(encoder: JinaEncoder, workload: QueriesBeside, conditions: Conditions) -> Supply:
    return Supply(encoder, Mixture(((1, workload.query),)), replace(conditions, role="query"))
