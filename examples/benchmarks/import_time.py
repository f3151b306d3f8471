"""How long ``import jina_vllm_integrations`` takes in a fresh interpreter. Target: under 150 ms."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from recording import record

SCRIPT = """
import time
start = time.perf_counter()
import jina_vllm_integrations
print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure and record."""
    runs = [
        float(subprocess.run([sys.executable, "-c", SCRIPT], check=True, stdout=subprocess.PIPE, text=True).stdout)
        for _ in range(21)
    ]
    record("import_time", {"median_ms": round(1000 * median(runs), 2), "worst_ms": round(1000 * max(runs), 2)})


if __name__ == "__main__":
    main()
