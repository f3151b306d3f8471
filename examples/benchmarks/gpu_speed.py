"""What a GPU does with pages, texts and queries, and what each choice of options brings.

A checkpoint with the geometry of jina-embeddings-v4 and random weights. Each choice runs alone in a fresh process.
Pages are files of A4 scans, path in, vector out; rates are of a stream in steady state, without its beginning and its
end, the median of several rounds. The query is embedded while 300 pages are being indexed, again and again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import full_size
import page_files
from process_memory import memory_mib
from random_items import texts
from recording import record

from jina_vllm_integrations import InProcessEngine, JinaEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OPTIONS = {"max_model_len": 4096, "gpu_memory_utilization": 0.6}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults, bf16": {},
    "defaults, fp8": {"quantization": "fp8"},
    "encoder not compiled": {"compilation_config": {"compile_mm_encoder": False}},
    "encoder in CUDA graphs": {
        "compilation_config": {
            "compile_mm_encoder": True,
            "cudagraph_mm_encoder": True,
            "encoder_cudagraph_token_budgets": [1024, 2048, 4096, 8192],
        }
    },
    "no async scheduling": {"async_scheduling": False},
    "batches of 16384 tokens": {"max_num_batched_tokens": 16384},
    "batches of 4096 tokens": {"max_num_batched_tokens": 4096},
    "rendered in threads": {"render_processes": 0},
    "stock model class, pooled by the client": {"pooling": "client"},
    "512 sequences at once": {"max_num_seqs": 512},
    "graphs up to 8192 tokens": {
        "compilation_config": {
            "compile_mm_encoder": True,
            "cudagraph_capture_sizes": [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 6144, 8192],
        }
    },
}
TEXTS = {"texts of 512 tokens": (512, 1600), "texts of 64 tokens": (64, 8000)}
EDGE = 64


def steady_rate(results: Iterable[object], n_results: int) -> float:
    """Return results a second between the first and the last few."""
    times = [time.perf_counter() for _ in results]
    first, last = EDGE, n_results - EDGE
    return (last - first) / (times[last] - times[first])


def query_seconds(encoder: JinaEncoder, pages: Sequence[Path]) -> tuple[list[float], float]:
    """Embed a query again and again while pages are indexed; return its times, and the pages a second beside it."""
    done = threading.Event()
    start = time.perf_counter()

    def index() -> None:
        for _ in encoder.stream(pages, role="document"):
            pass
        done.set()

    indexing = threading.Thread(target=index)
    indexing.start()
    seconds = []
    for number in count():
        begin = time.perf_counter()
        encoder.embed([f"where is invoice number {number}"], role="query")
        if done.is_set():
            break
        seconds.append(time.perf_counter() - begin)
        time.sleep(0.02)  # a person's or an agent's next one
    indexing.join()
    return seconds, len(pages) / (time.perf_counter() - start)


def measure(choice: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one choice in this process."""
    pages = page_files.written(options.pages)
    figures: dict[str, Any] = {}
    start = time.perf_counter()
    with InProcessEngine(
        full_size.CHECKPOINT, data_parallel=options.data_parallel, **{**OPTIONS, **CHOICES[choice]}
    ) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        encoder.warmup()
        figures["start and warm-up, seconds"] = round(time.perf_counter() - start, 1)
        for _ in encoder.stream(pages[:256], role="document"):
            pass
        for round_number in range(options.rounds):
            measured = {"pages": round(steady_rate(encoder.stream(pages, role="document"), len(pages)), 1)}
            for name, (tokens, number) in TEXTS.items():
                if name in options.work:
                    items = texts(number * options.data_parallel, tokens, round_number)
                    measured[name] = round(steady_rate(encoder.stream(items, role="document"), len(items)), 1)
            if "queries" in options.work:
                seconds, rate = query_seconds(encoder, pages[:300])
                measured |= {
                    "query beside pages, p50 ms": round(1000 * statistics.median(seconds), 1),
                    "query beside pages, p95 ms": round(1000 * statistics.quantiles(seconds, n=20)[-1], 1),
                    "pages beside queries": round(rate, 1),
                }
            for name, value in measured.items():
                figures.setdefault(name, []).append(value)
            print(choice, measured, flush=True)
        if options.long:
            figures["host memory while pages stream, MiB"] = memory_of_a_long_stream(encoder, pages, options.long)
    return figures


def memory_of_a_long_stream(encoder: JinaEncoder, pages: Sequence[Path], n_pages: int) -> list[int]:
    """Return the memory after every tenth of a stream that goes through the pages again and again."""
    taken = []
    many = (pages[number % len(pages)] for number in range(n_pages))
    for number, _ in enumerate(encoder.stream(many, role="document")):
        if number % (n_pages // 10) == 0:
            taken.append(memory_mib())
    return taken


def main() -> None:
    """Measure each choice in a process of its own, and record what is there after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--work", nargs="*", default=[*TEXTS, "queries"], choices=[*TEXTS, "queries"])
    parser.add_argument("--pages", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-parallel", type=int, default=1)
    parser.add_argument("--long", type=int, default=0, metavar="N", help="then stream N pages and look at the memory")
    parser.add_argument("--name", default="gpu_speed", help="of the result file")
    parser.add_argument("--choice", choices=list(CHOICES), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.choice:
        options.out.write_text(json.dumps(measure(options.choice, options)))
        return
    full_size.written()
    page_files.written(options.pages)
    device = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)  # noqa: S607
    speeds: dict[str, Any] = {}
    for choice in options.choices:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "figures.json"
            command = [sys.executable, __file__, *sys.argv[1:], "--choice", choice, "--out", str(out)]
            failed = subprocess.run(command, check=False).returncode
            speeds[choice] = {"options": CHOICES[choice]} | (
                {"failed": failed} if failed else json.loads(out.read_text())
            )
        record(
            options.name, {"device": [line.split(" (")[0] for line in device.stdout.splitlines()], "choices": speeds}
        )


if __name__ == "__main__":
    main()
