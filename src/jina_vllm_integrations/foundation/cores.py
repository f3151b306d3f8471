"""How many cores there are to use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Microseconds of computing in a period, and the period: of control groups version 2, and of version 1.
_QUOTA_FILES = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def available_cores() -> int:
    """Return the cores that this process may run on, or its container's quota in cores where that is less."""
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), _quota())))


def _quota() -> float:
    """Return the quota in cores, infinite where there is none."""
    for names in _QUOTA_FILES:
        files = [_CONTROL_GROUPS / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text() for file in files).split()
            return int(quota) / int(period) if quota.isdecimal() else math.inf  # "max" and -1 are none
    return math.inf
