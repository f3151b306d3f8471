"""Dense vectors by this package and by its peers: same weights, same items, same machine, one run.

Texts of 64 and of 512 tokens as strings and pages of 768 image tokens as the contents of JPEG files go in, vectors come
out; all that lies between is measured. Each way of `peer_ways.py` runs alone in a fresh process. A way whose caller
chooses a batch size tries several on a part of the items and is measured at its best. The figure is the median of some
passes after a warm one; no item comes twice, so no cache can answer. How far each way's vectors are from those of
transformers is recorded beside its speed.

``--size full`` is the geometry of jina-embeddings-v4 with random bfloat16 weights and wants a GPU; ``--size small`` is
a tiny float32 model for machines without one, where what surrounds a model weighs more than the model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import full_size
import numpy as np
from device import device, device_name
from peer_ways import WAYS, Way
from random_items import PAGE_TOKENS, jpegs, texts
from recording import record
from turns import timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from peer_ways import Run

REFERENCE = "transformers"
SAMPLE = 8
PACKAGES = (
    *("sentence-transformers", "huggingface-hub"),
    *("langchain-core", "langchain-huggingface"),
    *("llama-index-core", "llama-index-embeddings-huggingface"),
)


@dataclass(frozen=True)
class Kind:
    """One kind of items.

    Attributes:
        make: From a count and a seed to items.
        tokens: Of each item, an image's prompt not counted.
        count: Of one pass at scale 1.
        batch_sizes: Those that a way tries.
        seed: Apart from other kinds'.
    """

    make: Callable[[int, int], list[Any]]
    tokens: int
    count: int
    batch_sizes: tuple[int, ...]
    seed: int

    def passes(self, number: int, scale: float) -> list[list[Any]]:
        """Return the items of so many passes, all different."""
        count = max(SAMPLE, int(self.count * scale))
        return [self.make(count, self.seed + pass_) for pass_ in range(number)]


PAGES = f"pages of {PAGE_TOKENS} image tokens"
KINDS = {
    "texts of 64 tokens": Kind(lambda count, seed: texts(count, 64, seed), 64, 2048, (8, 16, 32, 64, 128, 256), 0),
    "texts of 512 tokens": Kind(lambda count, seed: texts(count, 512, seed), 512, 384, (4, 8, 16, 32, 64), 100),
    PAGES: Kind(jpegs, PAGE_TOKENS, 64, (1, 2, 4, 8), 200),
}


def prepared(size: str) -> tuple[str, dict[str, Any]]:
    """Return a size's checkpoint, and the options of every way that has a vLLM; all else is at its defaults."""
    if size == "full":
        return full_size.written(), {"max_model_len": 4096, "gpu_memory_utilization": 0.6}
    import tiny

    return tiny.CHECKPOINT, tiny.OPTIONS


def measure(way: Way, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a way's figures for each kind, and the vectors of a few items."""
    figures: dict[str, Any] = {}
    vectors = {}
    with way.load(*prepared(options.size)) as run:
        for name, kind in KINDS.items():
            if name == PAGES and way.without_pages:
                figures[name] = way.without_pages
                continue
            passes = kind.passes(options.rounds + 1, options.scale)
            figures[name], vectors[name] = measured(run, passes, kind.batch_sizes if way.batched else ())
            figures[name]["tokens_per_second"] = round(figures[name]["items_per_second"] * kind.tokens)
            print(f"{options.way}, {name}: {figures[name]['items_per_second']} a second", flush=True)
    return figures, vectors


def measured(run: Run, passes: list[list[Any]], batch_sizes: tuple[int, ...]) -> tuple[dict[str, Any], np.ndarray]:
    """Return the figures of all passes but the first, at the best batch size, and the vectors of a few items."""
    warm, *rounds = passes
    tried = {size: speed(run, warm, size) for size in batch_sizes}
    best = max(tried, key=lambda size: tried[size], default=None)
    run(warm, best)
    seconds = [timed(partial(run, items, best)) for items in rounds]
    figures: dict[str, Any] = {
        "items_per_second": round(len(warm) / median(seconds), 1),
        "items_a_pass": len(warm),
        "seconds": [round(second, 3) for second in seconds],
        "load_average": round(os.getloadavg()[0], 1),  # well above the cores: others had a part of them
    }
    if tried:
        figures |= {"batch_size": best, "items_per_second_by_batch_size": tried}
    return figures, np.asarray(run(rounds[0][:SAMPLE], best), np.float32)


def speed(run: Run, items: list[Any], batch_size: int) -> float:
    """Return the items a second of four batches, after one to warm up."""
    items = items[: 4 * batch_size]
    run(items[:batch_size], batch_size)
    return round(len(items) / timed(partial(run, items, batch_size)), 1)


def measured_apart(name: str, options: argparse.Namespace, out: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Measure a way in a process of its own, or say why it was not measured."""
    if missing := WAYS[name].missing():
        return f"not installed: {', '.join(missing)}", {}
    shared = [f"--{option}={getattr(options, option)}" for option in ("size", "scale", "rounds")]
    command = [sys.executable, __file__, *shared, "--way", name, "--out", str(out)]
    status = subprocess.run(command, check=False, env=environment(options.size)).returncode
    if status:
        return f"failed with exit status {status}", {}
    with np.load(out) as results:
        vectors = {kind: results[kind] for kind in KINDS if kind in results.files}
        return json.loads(str(results["figures"])), vectors


def environment(size: str) -> dict[str, str]:
    """Return a way's environment: on CPUs torch computes with as many threads as vLLM, which leaves one core free."""
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1))} if size == "small" else {}
    return {**os.environ, **threads}


def least_cosines(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the smallest cosine of two ways' vectors, for each kind that both embed."""
    shared = ours.keys() & theirs.keys()
    return {kind: least_cosine(ours[kind], theirs[kind]) for kind in KINDS if kind in shared}


def least_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the smallest cosine of two arrays' rows, which may have been scaled to unit length in bfloat16."""
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return float(((ours * theirs).sum(axis=-1) / lengths).min())


def versions() -> dict[str, str | None]:
    """Return the versions of the packages beside those that every record names; ``None`` where not installed."""
    found: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def main() -> None:
    """Measure each way in a process of its own, and record after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["small", "full"], help="by default full where there is a GPU")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of items")
    parser.add_argument("--rounds", type=int, default=3, help="measured passes")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        figures, vectors = measure(WAYS[options.way], options)
        np.savez(options.out, figures=json.dumps(figures), **vectors)
        return
    options.size = options.size or ("full" if device() == "cuda" else "small")
    prepared(options.size)
    ways: dict[str, Any] = {}
    agreement: dict[str, Any] = {}
    reference: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.ways:
            ways[name], vectors = measured_apart(name, options, Path(scratch) / "way.npz")
            if name == REFERENCE:
                reference = vectors
            elif cosines := least_cosines(vectors, reference):
                agreement[name] = cosines
            record(
                f"peers_{options.size}",
                {
                    "device": device_name(),
                    "packages": versions(),
                    "ways": ways,
                    f"least_cosine_with_{REFERENCE}": agreement,
                },
            )
    if failed := [name for name, figures in ways.items() if str(figures).startswith("failed")]:
        sys.exit(f"These ways failed: {', '.join(failed)}. Their errors are above.")


if __name__ == "__main__":
    main()
