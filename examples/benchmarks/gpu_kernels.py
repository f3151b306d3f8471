"""Where a GPU's time goes: the kernels of some batches of pages and of texts, by torch's profiler inside vLLM.

``busy`` is the share of the time between the first kernel and the last in which one ran. Where it is near 1, the GPU
is what bounds; the profiler itself makes launches slower, so what is idle here may not be without it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import full_size
from gpu_speed import CHOICES, OPTIONS
from random_items import texts
from recording import record
from vllm.config import ProfilerConfig

import page_files
from jina_vllm_integrations import InProcessEngine, JinaEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCHES = 6
PAGES_A_BATCH, TOKENS_A_BATCH = 11, 8192
MOST_KERNELS = 20
# The first that a kernel's name matches: attention is made of cutlass's parts, and so are names of fused kernels.
KINDS = {
    "element-wise, fused": r"^triton_",
    "attention": r"flash|fmha|attention",
    "matrix products": r"gemm|nvjet|cutlass|cublas",
    "copies": r"^Memcpy|^Memset|CatArray|copy",
}


def kernels_of(encoder: JinaEncoder, engine: InProcessEngine, items: Sequence[Any], folder: Path) -> dict[str, Any]:
    """Embed items with the profiler on, and return what it saw."""
    runtime = engine._runtime  # noqa: SLF001 - the profiler is vLLM's own
    assert runtime is not None

    def call(name: str) -> None:
        runtime.submit([getattr(runtime._llm, name)])[0].result()  # noqa: SLF001

    before = set(folder.rglob("*.gz"))
    encoder.embed(items, role="document")
    call("start_profile")
    encoder.embed(items, role="document")
    call("stop_profile")
    trace = max(set(folder.rglob("*.gz")) - before, key=lambda file: file.stat().st_size)
    return summary(json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"])


def summary(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the milliseconds of each kernel and of each kind."""
    kernels = sorted(
        (event["ts"], event["dur"], event["name"])
        for event in events
        if event.get("cat") in {"kernel", "gpu_memcpy", "gpu_memset"}
    )
    of_kernel: dict[str, list[float]] = defaultdict(list)
    of_kind: dict[str, float] = defaultdict(float)
    busy, end = 0.0, kernels[0][0]
    for begin, duration, name in kernels:
        busy += max(0.0, begin + duration - max(begin, end))
        end = max(end, begin + duration)
        of_kernel[name[:100]].append(duration / 1000)
        of_kind[kind(name)] += duration / 1000
    most = sorted(of_kernel, key=lambda name: -sum(of_kernel[name]))[:MOST_KERNELS]
    return {
        "milliseconds": round((end - kernels[0][0]) / 1000, 1),
        "busy": round(busy / (end - kernels[0][0]), 3),
        "kinds": {name: round(of_kind[name], 1) for name in sorted(of_kind, key=lambda name: -of_kind[name])},
        "kernels": {
            name: {"launches": len(of_kernel[name]), "milliseconds": round(sum(of_kernel[name]), 2)} for name in most
        },
    }


def kind(name: str) -> str:
    """Return what a kernel does, by its name."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), "other")


def profiled(choice: str, work: dict[str, list[Any]]) -> dict[str, Any]:
    """Profile one choice of options."""
    with tempfile.TemporaryDirectory() as scratch:
        profiler = ProfilerConfig(
            profiler="torch", torch_profiler_dir=scratch, torch_profiler_with_stack=False, ignore_frontend=True
        )
        with InProcessEngine(full_size.written(), profiler_config=profiler, **{**OPTIONS, **CHOICES[choice]}) as engine:
            encoder = JinaEncoder(engine, task="retrieval")
            encoder.warmup()
            return {name: kernels_of(encoder, engine, items, Path(scratch)) for name, items in work.items()}


def main() -> None:
    """Profile some choices, one after the other, and record what is there after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choices", nargs="+", default=["defaults, bf16", "defaults, fp8"], choices=list(CHOICES))
    options = parser.parse_args()
    work: dict[str, list[Any]] = {
        "pages": [*page_files.written(BATCHES * PAGES_A_BATCH)],
        **{f"texts of {n} tokens": texts(BATCHES * TOKENS_A_BATCH // n, n, n) for n in (512, 64)},
    }
    choices: dict[str, Any] = {}
    for choice in options.choices:
        choices[choice] = profiled(choice, work)
        record("gpu_kernels", {"batches": BATCHES, "choices": choices})


if __name__ == "__main__":
    main()
