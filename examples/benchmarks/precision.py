"""How far vectors are from those of transformers in float32, by how they are computed.

On a GPU the geometry of jina-embeddings-v4 with random bfloat16 weights of unit gain, texts of 64 and 512 tokens, and
pages; without one (``--size vision``) its vision encoder before a small language model, and small pictures. Padding and
fp8 change vectors by rounding only: what they add is to be seen beside what bfloat16 itself costs. CPUs have no fp8;
`fp8_rounding` shows what it would do there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import full_size
import numpy as np
from device import device
from PIL import Image
from random_items import texts
from recording import record

import page_files

# All ways at once need 60 GB.
OPTIONS = {"max_model_len": 4096, "gpu_memory_utilization": 0.15, "kv_cache_memory_bytes": 2**29}
NOT_COMPILED = {"compilation_config": {"compile_mm_encoder": False}}
WAYS: dict[str, dict[str, Any] | None] = {
    "transformers, float32": None,
    "transformers, bfloat16": None,
    "stock vLLM, encoder not padded, not compiled": {
        "pooling": "client",
        **NOT_COMPILED,
    },
    "padded, not compiled": NOT_COMPILED,
    "defaults: padded, compiled": {},
    "fp8": {"quantization": "fp8"},
    "fp8 by rounding": {"quantization": "rounded_to_fp8", "enforce_eager": True},
}
NOT_OF_SIZE = {"full": "fp8 by rounding", "vision": "fp8"}
SAMPLE = 24
SMALL_SAMPLE = 8
SMALL_MACHINE = {
    "dtype": "bfloat16",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 256 * 2**20,
    "max_model_len": 2048,
    "render_processes": 0,
}


def items(size: str) -> dict[str, list[Any]]:
    """Return the items of each kind; pages as the contents of files."""
    if size == "vision":
        return {"pictures of 100 cells": [small_picture(path) for path in page_files.written(SMALL_SAMPLE)]}
    return {
        "texts of 64 tokens": texts(SAMPLE, 64, 0),
        "texts of 512 tokens": texts(SAMPLE, 512, 1),
        "pages": [path.read_bytes() for path in page_files.written(SAMPLE)],
    }


def small_picture(path: Path) -> bytes:
    """Return a page in the size of ten by ten cells."""
    file = BytesIO()
    Image.open(path).resize((280, 280)).save(file, "PNG")
    return file.getvalue()


def by_transformers(checkpoint: str, dtype: str, work: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """Compute one item at a time."""
    import torch
    from plain_transformers import PlainTransformers

    torch.backends.cuda.matmul.allow_tf32 = False
    model = PlainTransformers(checkpoint, dtype=dtype)
    return {kind: model.embed(of_kind, batch_size=1) for kind, of_kind in work.items()}


def by_vllm(checkpoint: str, options: dict[str, Any], work: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """Compute in vLLM's batches."""
    if options.get("quantization") == "rounded_to_fp8":
        import fp8_rounding  # noqa: F401 - registers it
    from jina_vllm_integrations import InProcessEngine, JinaEncoder

    with InProcessEngine(checkpoint, **options) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        return {kind: encoder.embed(of_kind, role="document") for kind, of_kind in work.items()}


def compute(way: str, size: str) -> dict[str, np.ndarray]:
    """Compute the vectors of one way in this process."""
    checkpoint = full_size.written() if size == "full" else full_size.vision_written()
    if WAYS[way] is None:
        return by_transformers(checkpoint, way.split(", ")[1], items(size))
    return by_vllm(checkpoint, {**(OPTIONS if size == "full" else SMALL_MACHINE), **WAYS[way]}, items(size))


def main() -> None:
    """Compute each way in a process of its own, on a GPU all at once, and record the distances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), help="by default all that the device can")
    parser.add_argument("--size", choices=["full", "vision"], help="by default full where there is a GPU")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        np.savez(options.out, **compute(options.way, options.size))
        return
    options.size = options.size or ("full" if device() == "cuda" else "vision")
    options.ways = options.ways or [way for way in WAYS if way != NOT_OF_SIZE[options.size]]
    items(options.size)  # made once, before they are read at once
    with tempfile.TemporaryDirectory() as scratch:
        files = {way: Path(scratch) / f"{number}.npz" for number, way in enumerate(options.ways)}
        failed = [way for way, returned in zip(files, run(files, options.size), strict=True) if returned]
        vectors = {way: dict(np.load(file)) for way, file in files.items() if way not in failed}
    reference = vectors[options.ways[0]]
    figures = {
        "size": options.size,
        "items_of_each_kind": {kind: len(of_kind) for kind, of_kind in items(options.size).items()},
        "failed": failed,
        "cosine_with": options.ways[0],
        "cosines": {name: cosines(theirs, reference) for name, theirs in vectors.items()},
    }
    record(f"precision_{options.size}", figures)


def run(files: dict[str, Path], size: str) -> list[int]:
    """Run each way, and return how it ended."""
    commands = [
        [sys.executable, __file__, "--size", size, "--way", way, "--out", str(file)] for way, file in files.items()
    ]
    if size == "vision":  # two cores
        return [subprocess.run(command, check=False).returncode for command in commands]
    return [process.wait() for process in [subprocess.Popen(command) for command in commands]]


def cosines(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the least and the median cosine of each kind."""
    return {
        kind: {"least": float(rows.min()), "median": float(np.median(rows))}
        for kind in ours
        for rows in [(ours[kind].astype(np.float64) * theirs[kind]).sum(axis=1)]
    }


if __name__ == "__main__":
    main()
