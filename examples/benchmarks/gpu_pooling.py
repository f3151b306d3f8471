"""Where pooling runs, on a GPU: stock ``token_embed`` pooled by the client, and pooling inside vLLM by our plugin.

A checkpoint with the geometry of jina-embeddings-v4 (Qwen2.5-VL-3B) and random bfloat16 weights of unit gain, so that
vectors depend on texts and pixels. Each way runs alone in a fresh process: texts of 64 and of 512 tokens and pages of
768 image tokens, all different, through `JinaEncoder`; beside it ``LLM.encode`` with a pooling loop, as published
examples do it. Speeds are of one pass after a warm pass of a tenth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import full_size
import numpy as np
from device import device_name
from encode_loop import encode_loop
from random_items import PAGE_TOKENS, pages, texts
from recording import record

from jina_vllm_integrations import InProcessEngine, JinaEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPTIONS = {"max_model_len": 4096, "max_num_batched_tokens": 16384, "gpu_memory_utilization": 0.6}
SAMPLE = 8


def work(scale: float) -> dict[str, tuple[list[Any], int]]:
    """Return the items of each kind and their tokens each, as many as a minute or two can do at scale 1."""
    return {
        "texts of 64 tokens": (texts(int(8192 * scale), 64, 0), 64),
        "texts of 512 tokens": (texts(int(2048 * scale), 512, 1), 512),
        "pages of 768 image tokens": (pages(int(320 * scale), 2), PAGE_TOKENS),
    }


def speed(run: Callable[[Sequence[Any]], object], items: list[Any], tokens: int) -> dict[str, float]:
    """Return items and tokens a second."""
    run(items[: max(SAMPLE, len(items) // 10)])
    start = time.perf_counter()
    run(items)
    seconds = time.perf_counter() - start
    return {
        "items_per_second": round(len(items) / seconds, 1),
        "tokens_per_second": round(len(items) * tokens / seconds),
    }


def published(checkpoint: str, jobs: dict[str, tuple[list[Any], int]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure ``LLM.encode`` and a loop."""
    run = encode_loop(checkpoint, **OPTIONS)
    return {name: speed(run, *job) for name, job in jobs.items()}, {}


def ours(
    checkpoint: str, jobs: dict[str, tuple[list[Any], int]], pooling: Any, output: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure `JinaEncoder`, and keep the vectors of a few items of each kind."""
    with InProcessEngine(checkpoint, pooling=pooling, **OPTIONS) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        call = {"dense": encoder.embed, "tokens": encoder.embed_tokens, "both": encoder.embed_both}[output]
        speeds = {name: speed(lambda items: call(items, role="document"), *job) for name, job in jobs.items()}
        sample = [item for items, _ in jobs.values() for item in items[:SAMPLE]]
        dense, tokens = encoder.embed_both(sample, role="document")
    return speeds, {"dense": dense, "tokens": np.concatenate([item.vectors for item in tokens])}


WAYS = {
    "LLM.encode and a loop": published,
    "client, dense": lambda *job: ours(*job, "client", "dense"),
    "plugin, dense": lambda *job: ours(*job, "engine", "dense"),
    "plugin, token vectors": lambda *job: ours(*job, "engine", "tokens"),
    "plugin, both": lambda *job: ours(*job, "engine", "both"),
}


def least_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the smallest cosine of two arrays' rows."""
    return float((ours * theirs).sum(axis=-1).min())


def main() -> None:
    """Measure each way in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--checkpoint", default=str(full_size.CHECKPOINT))
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        speeds, vectors = WAYS[options.way](options.checkpoint, work(options.scale))
        np.savez(options.out, speeds=json.dumps(speeds), **vectors)
        return
    full_size.written(options.checkpoint)
    figures: dict[str, Any] = {}
    vectors = {}
    with tempfile.TemporaryDirectory() as scratch:
        for way in options.ways:
            out = Path(scratch) / "way.npz"
            arguments = ["--way", way, "--out", str(out), "--checkpoint", options.checkpoint]
            subprocess.run([sys.executable, __file__, *arguments, "--scale", str(options.scale)], check=True)
            with np.load(out) as results:
                figures[way] = json.loads(str(results["speeds"]))
                vectors[way] = {name: results[name] for name in results.files if name != "speeds"}
            print(way, figures[way], flush=True)
    client = vectors.get("client, dense")
    agreement = {
        way: {f"least cosine, {kind}": least_cosine(vectors[way][kind], client[kind]) for kind in ("dense", "tokens")}
        for way in options.ways
        if client and way.startswith("plugin")
    }
    record("gpu_pooling", {"device": device_name(), "speeds": figures, "agreement_with_client_pooling": agreement})


if __name__ == "__main__":
    main()
