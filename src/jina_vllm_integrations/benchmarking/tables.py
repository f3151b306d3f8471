"""Measurements for people to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.benchmarking.measurements import Measurement
    from jina_vllm_integrations.benchmarking.workloads import Workload

_COLUMNS = ("items/s", "tokens/s", "p50 ms", "p95 ms", "p99 ms", "of limit", "host MiB", "GPU MiB")
_WIDTH = 8


class Table:
    """Lines of equal width, to be shown one by one as they are measured.

    Args:
        workloads: What the rows will be of.
    """

    def __init__(self, workloads: Iterable[Workload]) -> None:
        self._width = max(len(str(workload)) for workload in workloads)

    def header(self) -> str:
        """Return the columns' names."""
        return self._line("", _COLUMNS)

    def row(self, measurement: Measurement) -> str:
        """Return a measurement in numbers of three digits, ``-`` where there is none."""
        latency, share = measurement.latency, measurement.share_of_limit
        times = (latency.p50, latency.p95, latency.p99) if latency else (None, None, None)
        speeds = measurement.items_per_second, measurement.tokens_per_second
        numbers = [*map(short, (*speeds, *times)), "-" if share is None else f"{short(100 * share)}%"]
        memory = map(short, (measurement.host_memory_mib, measurement.gpu_memory_mib))
        return self._line(measurement.workload, [*numbers, *memory])

    def _line(self, label: str, cells: Sequence[str]) -> str:
        return "  ".join([f"{label:<{self._width}}", *(f"{cell:>{_WIDTH}}" for cell in cells)])


def short(number: float | None) -> str:
    """Return a number with three significant digits, without an exponent."""
    if number is None:
        return "-"
    rounded = float(f"{number:.3g}")
    decimals = 2 - math.floor(math.log10(rounded)) if rounded else 0
    return f"{rounded:,.{max(0, decimals)}f}"
