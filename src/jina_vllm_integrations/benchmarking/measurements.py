"""What came of a workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long calls took, in milliseconds.

    Attributes:
        calls: How many there were.
        p50: The median.
        p95: What 95 of 100 calls do not exceed.
        p99: What 99 of 100 calls do not exceed.
    """

    calls: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Return the latency of calls that took so long."""
        p50, p95, p99 = (1000 * float(value) for value in np.percentile(seconds, [50, 95, 99]))
        return cls(calls=len(seconds), p50=p50, p95=p95, p99=p99)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What came of a workload.

    Attributes:
        workload: Which one.
        items: How many were measured.
        seconds: For how long.
        items_per_second: The speed; for queries beside a stream, the stream's.
        tokens_per_second: The same in tokens of prompts.
        latency: Of calls, or of the queries; ``None`` for a stream.
        share_of_limit: The operations of a second, by the device's peak; ``None`` where the peak is not known. The
            queries beside a stream are not counted.
        host_memory_mib: The most that this process and its children took while they were measured, with the items
            that were made ahead; ``None`` where the system does not tell.
        gpu_memory_mib: What was in use at the end; ``None`` without an NVIDIA GPU.
        items_made_late: How many items had to be made while the clock ran, which slows a stream down; callers do not
            wait for it. If there are many, measure a number of items instead of seconds.
    """

    workload: str
    items: int
    seconds: float
    items_per_second: float
    tokens_per_second: float
    latency: Latency | None
    share_of_limit: float | None
    host_memory_mib: float | None
    gpu_memory_mib: float | None
    items_made_late: int
