"""How far the vectors of a full-size model are from those of transformers in float32, by how they are computed.

The geometry of jina-embeddings-v4 with random bfloat16 weights of unit gain; texts of 64 and 512 tokens, and pages.
Padding and fp8 change vectors by rounding only: what they add is to be seen beside what bfloat16 itself costs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import page_files
from random_items import texts
from recording import record

# All ways at once need 60 GB.
OPTIONS = {"max_model_len": 4096, "gpu_memory_utilization": 0.15, "kv_cache_memory_bytes": 2 * 2**30}
WAYS: dict[str, dict[str, Any] | None] = {
    "transformers, float32": None,
    "transformers, bfloat16": None,
    "stock vLLM, encoder not padded, not compiled": {"pooling": "client", "compilation_config": {}},
    "padded, not compiled": {"compilation_config": {}},
    "defaults: padded, compiled": {},
    "fp8": {"quantization": "fp8"},
}
SAMPLE = 24


def items() -> dict[str, list[Any]]:
    """Return the items of each kind; pages as the contents of files."""
    return {
        "texts of 64 tokens": texts(SAMPLE, 64, 0),
        "texts of 512 tokens": texts(SAMPLE, 512, 1),
        "pages": [path.read_bytes() for path in page_files.written(SAMPLE)],
    }


def by_transformers(dtype: str) -> dict[str, np.ndarray]:
    """Compute one item at a time."""
    import torch
    from plain_transformers import PlainTransformers

    torch.backends.cuda.matmul.allow_tf32 = False
    model = PlainTransformers(str(full_size.CHECKPOINT), dtype=dtype)
    return {kind: model.embed(of_kind, batch_size=1) for kind, of_kind in items().items()}


def by_vllm(options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Compute in vLLM's batches."""
    from jina_vllm_integrations import InProcessEngine, JinaEncoder

    with InProcessEngine(full_size.CHECKPOINT, **OPTIONS, **options) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        return {kind: encoder.embed(of_kind, role="document") for kind, of_kind in items().items()}


def compute(way: str) -> dict[str, np.ndarray]:
    """Compute the vectors of one way in this process."""
    options = WAYS[way]
    return by_transformers(way.split(", ")[1]) if options is None else by_vllm(options)


def main() -> None:
    """Compute all ways at once, each in a process of its own, and record the distances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        np.savez(options.out, **compute(options.way))
        return
    full_size.written()
    page_files.written(SAMPLE)
    with tempfile.TemporaryDirectory() as scratch:
        files = {way: Path(scratch) / f"{number}.npz" for number, way in enumerate(options.ways)}
        running = [
            subprocess.Popen([sys.executable, __file__, "--way", way, "--out", str(file)])
            for way, file in files.items()
        ]
        failed = [way for way, process in zip(files, running, strict=True) if process.wait()]
        vectors = {way: dict(np.load(file)) for way, file in files.items() if way not in failed}
    reference = vectors[options.ways[0]]
    figures = {
        "items_of_each_kind": SAMPLE,
        "failed": failed,
        "cosine_with": options.ways[0],
        "cosines": {name: cosines(theirs, reference) for name, theirs in vectors.items()},
    }
    record("precision", figures)


def cosines(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the least and the median cosine of each kind."""
    return {
        kind: {"least": float(rows.min()), "median": float(np.median(rows))}
        for kind in ours
        for rows in [(ours[kind].astype(np.float64) * theirs[kind]).sum(axis=1)]
    }


if __name__ == "__main__":
    main()
