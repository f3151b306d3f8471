"""Exact MaxSim on a GPU: ways to do it with torch, and the kernel packages where they are installed.

``pip install flash-maxsim late-interaction-kernels`` beside torch. Times are medians by CUDA events after a warm-up;
errors are the largest relative ones against float64 on the same float16 vectors.
"""

from __future__ import annotations

import json
import statistics
import sys
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from random_vectors import unit_rows

from jina_vllm_integrations.scoring import pack, score
from jina_vllm_integrations.scoring.cuda import products
from jina_vllm_integrations.types import VectorDtype

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "results" / "gpu_maxsim.json")
# Documents, their shortest and longest lengths, tokens of the query.
SIZES = {
    "rerank 100 pages": (100, 600, 900, 20),
    "search 2,000 documents": (2_000, 200, 400, 32),
    "search 10,000 pages": (10_000, 600, 900, 20),
}
SAMPLE = 200


def segment_reduce(vectors: torch.Tensor, offsets: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """One product, then torch.segment_reduce."""
    return torch.segment_reduce(products(vectors, query), "max", offsets=offsets, axis=0).sum(1)


def index_reduce(vectors: torch.Tensor, document_of_row: torch.Tensor, n: int, query: torch.Tensor) -> torch.Tensor:
    """One product, then an atomic maximum."""
    best = torch.full((n, len(query)), -torch.inf, device="cuda")
    return best.index_reduce_(0, document_of_row, products(vectors, query), "amax").sum(1)


def milliseconds(function: Callable[[], Any], rounds: int = 30) -> float:
    """Return the median of a call's time, by CUDA events."""
    for _ in range(5):
        function()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return round(statistics.median(times), 3)


def ways(documents: list[np.ndarray], query: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return every way to score, by name, over vectors that are on the GPU already."""
    packed = pack(documents)
    kept = {dtype: pack(documents, dtype=dtype).to_cuda() for dtype in get_args(VectorDtype)}
    vectors = torch.from_numpy(packed.vectors).cuda()
    offsets = torch.from_numpy(packed.offsets).cuda()
    q = torch.from_numpy(query).cuda()
    document_of_row = torch.repeat_interleave(torch.arange(len(packed), device="cuda"), offsets.diff())
    found: dict[str, Callable[[], Any]] = {
        **{f"scoring.score, {dtype}, from NumPy to NumPy": partial(score, query, each) for dtype, each in kept.items()},
        "torch product alone": lambda: products(vectors, q),
        "torch, segment_reduce": lambda: segment_reduce(vectors, offsets, q),
        "torch, index_reduce": lambda: index_reduce(vectors, document_of_row, len(packed), q),
    }
    if find_spec("flash_maxsim"):
        from flash_maxsim import flash_maxsim_packed

        cu = offsets.int()
        longest = int(offsets.diff().max())
        found["flash-maxsim"] = lambda: flash_maxsim_packed(q, vectors, cu, longest)
    if find_spec("late_interaction_kernels"):
        from late_interaction_kernels import maxsim_varlen

        cu = offsets.int()
        longest = int(offsets.diff().max())
        cu_q = torch.tensor([0, len(q)], dtype=torch.int32, device="cuda")
        half = q.half()
        found["late-interaction-kernels"] = lambda: maxsim_varlen(half, vectors, cu_q, cu, len(q), longest)[0]
    return found


def main() -> None:
    """Measure and record."""
    rng = np.random.default_rng(0)
    sizes: dict[str, Any] = {}
    for name, (count, shortest, longest, tokens) in SIZES.items():
        lengths = rng.integers(shortest, longest + 1, count)
        rows = np.split(unit_rows(rng, int(lengths.sum())).astype(np.float16), np.cumsum(lengths)[:-1])
        query = unit_rows(rng, tokens)
        exact = np.array([(query.astype(float) @ each.astype(float).T).max(axis=1).sum() for each in rows[:SAMPLE]])
        sizes[name] = {way: measured(function, exact, count) for way, function in ways(rows, query).items()}
        print(json.dumps({name: sizes[name]}, indent=1), flush=True)
    document = {
        "command": f"python examples/benchmarks/{Path(__file__).name}",
        "machine": {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "packages": {
                package: version(package)
                for package in ("numpy", "flash-maxsim", "late-interaction-kernels")
                if find_spec(package.replace("-", "_"))
            },
        },
        "vectors": "128 random values of unit length, float16 unless said otherwise",
        "sizes": sizes,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def measured(function: Callable[[], Any], exact: np.ndarray, count: int) -> dict[str, Any]:
    """Return a way's time, and how far its scores are from the exact ones."""
    scores = function()
    if isinstance(scores, torch.Tensor):
        scores = scores.cpu().numpy()
    found: dict[str, Any] = {"ms": milliseconds(function)}
    if scores.shape == (count,):
        sample = scores[: len(exact)]
        found["largest error"] = float(np.abs(sample / exact - 1).max())
        found["in the exact order"] = bool((np.argsort(-sample) == np.argsort(-exact)).all())
    return found


if __name__ == "__main__":
    main()
