"""Late interaction without a GPU: scoring beside other packages, the token store, reranking, memory and quality.

    pip install maxsim-cpu colpali-engine
    python examples/benchmarks/late_interaction.py

All ways of one kind run by turns in the same process, so that what else the machine does falls on all of them; a ratio
is the median of the ratios of each round. Vectors are random and of unit length, but for the pages, which are the demo
model's test set (``examples/demo_model``), through vLLM. The targets are in the key names.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).parents[1] / "demo_model"))

import numpy as np
import torch
from random_vectors import unit_rows
from recording import record
from search_sets import ndcg, search_set

from jina_vllm_integrations import JinaEncoder, LateInteractionReranker, TokenStore
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.scoring import pack, score
from jina_vllm_integrations.types import TokenVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jina_vllm_integrations.types import FloatArray

PEERS = ("maxsim-cpu", "colpali-engine", "sentence-transformers")
TOP = 50
# Some ways leave threads behind that spin for a while, on the cores of the next one.
_PAUSE = 0.05


def documents(count: int, shortest: int, longest: int) -> list[FloatArray]:
    """Return documents of random lengths."""
    rng = np.random.default_rng(count)
    return [unit_rows(rng, int(length)) for length in rng.integers(shortest, longest + 1, count)]


def by_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each way in each round, in random order, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-2, rounds):
        for name in random.Random(turn).sample(list(ways), len(ways)):
            time.sleep(_PAUSE)
            start = time.perf_counter()
            ways[name]()
            if turn >= 0:
                times[name].append((time.perf_counter() - start) * 1000)
    return times


def compared(times: dict[str, list[float]], baseline: str) -> dict[str, Any]:
    """Return medians, and how many times as long as the baseline each way takes."""
    return {
        name: {
            "median_ms": round(statistics.median(each), 2),
            "least_ms": round(min(each), 2),
            "times_the_baseline": round(
                statistics.median(one / other for one, other in zip(each, times[baseline], strict=True)), 2
            ),
        }
        for name, each in times.items()
    }


def peers(query: FloatArray, pages: Sequence[FloatArray]) -> dict[str, Callable[[], object]]:
    """Return the other packages that are installed."""
    found: dict[str, Callable[[], object]] = {}
    tensors, asked = [torch.from_numpy(page) for page in pages], [torch.from_numpy(query)]
    if find_spec("maxsim_cpu"):
        import maxsim_cpu

        found["maxsim-cpu"] = lambda: maxsim_cpu.maxsim_scores_variable(query, pages)
    if find_spec("colpali_engine"):
        from colpali_engine.utils.processing_utils import BaseVisualRetrieverProcessor

        found["colpali-engine"] = lambda: BaseVisualRetrieverProcessor.score_multi_vector(asked, tensors)
    if find_spec("sentence_transformers"):
        from sentence_transformers.util import maxsim

        found["sentence-transformers"] = lambda: maxsim(asked, tensors)
    found["NumPy, page by page"] = lambda: [(query @ page.T).max(axis=1).sum() for page in pages]
    return found


def compare_scoring(query: FloatArray, pages: Sequence[FloatArray], rounds: int, *, baseline: str) -> dict[str, Any]:
    """Score the same documents in every way."""
    packed, half, small = pack(pages), pack(pages, dtype="float16"), pack(pages, dtype="int8")
    ways: dict[str, Callable[[], object]] = {
        "ours, a list": lambda: score(query, pages),
        "ours, packed": lambda: score(query, packed),
        "ours, packed float16": lambda: score(query, half),
        "ours, packed int8": lambda: score(query, small),
        **peers(query, pages),
    }
    return compared(by_turns(ways, rounds), baseline)


def token_vectors(page: FloatArray) -> TokenVectors:
    """Return a record of a page."""
    return TokenVectors(
        vectors=page,
        token_ids=np.arange(len(page)),
        image_mask=np.ones(len(page), dtype=bool),
        grid=None,
    )


def compare_reading(query: FloatArray, pages: Sequence[FloatArray], rounds: int) -> dict[str, Any]:
    """Score vectors in memory, and vectors that are read from a store first."""
    found = {}
    for dtype in ("float16", "int8"):
        with tempfile.TemporaryDirectory() as folder, TokenStore(folder, dtype=dtype) as store:
            keys = [b"%d" % number for number in range(len(pages))]
            store.put_many([(key, token_vectors(page)) for key, page in zip(keys, pages, strict=True)])

            def read_and_score(store: TokenStore = store, keys: list[bytes] = keys) -> None:
                score(query, [tokens for tokens in store.get_many(keys) if tokens is not None])

            ways: dict[str, Callable[[], object]] = {
                "in memory, float32": lambda: score(query, pages),
                "read, then scored": read_and_score,
            }
            found[dtype] = compared(by_turns(ways, rounds), "in memory, float32")
    return found


def measure_memory() -> dict[str, Any]:
    """Search in fresh processes, which print how much more memory than before they took at most."""
    found = {}
    for kind in ("float32", "float16", "int8", "list of float32"):
        command = [sys.executable, __file__, "--memory", kind]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        vectors, more = map(int, finished.stdout.split()[-2:])
        found[kind] = {
            "vectors_mb": round(vectors / 2**20, 1),
            "more_while_searching_mb": round(more / 2**20, 1),
            "times_the_vectors": round((vectors + more) / vectors, 3),
        }
    return found


def print_memory(kind: str) -> None:
    """Print the bytes of the vectors, and by how many bytes a search raises this process's peak."""
    pages = documents(4_000, 200, 400)
    searched = pages if kind.startswith("list") else pack(pages, dtype=kind)  # type: ignore[arg-type]
    vectors = sum(page.nbytes for page in pages) if isinstance(searched, list) else searched.nbytes
    query = unit_rows(np.random.default_rng(0), 32)
    score(query, pages[:2] if isinstance(searched, list) else pack(pages[:2], dtype=kind))  # type: ignore[arg-type]
    if not isinstance(searched, list):
        del pages
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak()
    score(query, searched)
    print(vectors, peak() - before)


def peak() -> int:
    """Return this process's peak memory in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure_reranking(size: int, rounds: int) -> dict[str, Any]:
    """Rerank page images through vLLM: computing them each time, and from a store; and what it does for the ranking."""
    pages = search_set("pages", "test", size=size)
    with (
        demo_engine() as engine,
        tempfile.TemporaryDirectory() as folder,
        TokenStore(Path(folder) / "store") as store,
    ):
        encoder = JinaEncoder(engine, task="retrieval")
        paths = []
        for number, page in enumerate(pages.documents):
            paths.append(Path(folder) / f"{number}.png")
            page.save(paths[-1])  # type: ignore[union-attr]
        warmed = store.warm(encoder, paths)
        stored, anew = LateInteractionReranker(encoder, store), LateInteractionReranker(encoder)
        ways: dict[str, Callable[[], object]] = {
            "stored": lambda: stored.rerank(pages.queries[0], paths[:100]),
            "computed again": lambda: anew.rerank(pages.queries[0], paths[:100]),
        }
        times = compared(by_turns(ways, rounds), "stored")
        dense = encoder.embed(pages.queries, role="query") @ encoder.embed(paths, role="document").T
        late = np.full_like(dense, -np.inf)
        for row, query in enumerate(pages.queries):
            best = np.argsort(-dense[row], kind="stable")[:TOP]
            for hit in stored.rerank(query, [paths[index] for index in best]):
                late[row, best[hit.index]] = hit.score
        return {
            "100 pages as PNG files, target: 10 times as fast as computing again": times,
            f"ndcg@5 of {size} queries over {size} pages": {
                "dense": ndcg(dense, pages.languages)["all"],
                f"the dense top {TOP}, reranked": ndcg(late, pages.languages)["all"],
            },
            "store": {"entries": len(store), "mb": round(store.n_bytes / 2**20, 1), "encoded": warmed.n_encoded},
        }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--size", type=int, default=500, help="pages and queries")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(options.memory)
        return
    rng = np.random.default_rng(0)
    pages, query = documents(100, 600, 900), unit_rows(rng, 20)
    figures = {
        "peers": {name: version(name) for name in PEERS if find_spec(name.replace("-", "_"))},
        "rerank 100 pages x 600-900 tokens, 20-token query; targets: maxsim-cpu 1.5, colpali-engine 4": compare_scoring(
            query, pages, options.rounds, baseline="ours, a list"
        ),
        "search 2,000 documents x 200-400 tokens, 32-token query; target: maxsim-cpu 1.5": compare_scoring(
            unit_rows(rng, 32), documents(2_000, 200, 400), options.rounds, baseline="ours, packed"
        ),
        "the 100 pages from a store, page cache warm; target: at most 2": compare_reading(query, pages, options.rounds),
        "peak memory of a search, 4,000 documents x 200-400 tokens; target: at most 1.3": measure_memory(),
        "reranking with the demo checkpoint": measure_reranking(options.size, max(3, options.rounds // 8)),
    }
    record("late_interaction", figures)


if __name__ == "__main__":
    main()
