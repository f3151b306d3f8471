"""What this process and those below it take of the memory."""

from __future__ import annotations

import psutil


def memory_mib() -> int:
    """Return their memory together, in MiB, with what they share counted once."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return round(sum(process.memory_full_info().pss for process in family) / 2**20)
