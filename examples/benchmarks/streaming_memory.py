"""Peak memory of the process that streams texts, for 2,000 and for 20,000. Target: within 50 MB of each other.

Each count runs in a fresh process; vLLM's engine is another process and not counted.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from recording import record
from tiny import CHECKPOINT, OPTIONS, texts

COUNTS = (2_000, 20_000)


def stream(count: int) -> None:
    """Stream texts and print this process's peak memory in MB."""
    from jina_vllm_integrations import InProcessEngine, JinaEncoder

    with InProcessEngine(CHECKPOINT, **OPTIONS) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        assert sum(1 for _ in encoder.stream(iter(texts(count)), role="document")) == count
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure and record."""
    peaks = {}
    for count in COUNTS:
        finished = subprocess.run(
            [sys.executable, __file__, "--stream", str(count)], check=True, stdout=subprocess.PIPE, text=True
        )
        peaks[count] = float(finished.stdout.splitlines()[-1].removeprefix("peak "))
    few, many = COUNTS
    record(
        "streaming_memory",
        {
            "peak_mb": {str(count): round(peak, 1) for count, peak in peaks.items()},
            "difference_mb": round(peaks[many] - peaks[few], 1),
        },
    )


if __name__ == "__main__":
    if "--stream" in sys.argv:
        stream(int(sys.argv[-1]))
    else:
        main()
