"""What a GPU does with pages, texts and queries, and what each choice of options brings.

A checkpoint with the geometry of jina-embeddings-v4 and random weights. Each choice runs alone in a fresh process.
Pages are files of A4 scans, path in, vector out; rates are of a stream in steady state, without its beginning and its
end, the median of several rounds. The query is embedded while 300 pages are being indexed, again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import full_size
from beside_pages import at_a_steady_pace, one_after_another
from process_memory import memory_mib
from random_items import texts
from recording import record

import page_files
from jina_vllm_integrations import InProcessEngine, JinaEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.images import ImageHandle

OPTIONS = {"max_model_len": 4096, "gpu_memory_utilization": 0.6}
ENCODER_GRAPHS = {
    "cudagraph_mm_encoder": True,
    "encoder_cudagraph_token_budgets": [256, 768, 1536, 2304, 3072, 4096, 6144, 8192],
    "encoder_cudagraph_max_vision_items_per_batch": 32,
}
LARGER_GRAPHS = {"cudagraph_capture_sizes": [1, 2, 4, 8, *range(16, 257, 16), *range(512, 8193, 512)]}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults, bf16": {},
    "defaults, fp8": {"quantization": "fp8"},
    "encoder not compiled": {"compilation_config": {"compile_mm_encoder": False}},
    "encoder in CUDA graphs": {"compilation_config": ENCODER_GRAPHS},
    "larger CUDA graphs": {"compilation_config": LARGER_GRAPHS},
    "both": {"compilation_config": {**ENCODER_GRAPHS, **LARGER_GRAPHS}},
    "larger CUDA graphs, fp8": {"compilation_config": LARGER_GRAPHS, "quantization": "fp8"},
    "both, fp8": {"compilation_config": {**ENCODER_GRAPHS, **LARGER_GRAPHS}, "quantization": "fp8"},
    "no async scheduling": {"async_scheduling": False},
    "batches of 16384 tokens": {"max_num_batched_tokens": 16384},
    "batches of 4096 tokens": {"max_num_batched_tokens": 4096},
    "rendered in threads": {"render_processes": 0},
    "stock model class, pooled by the client": {"pooling": "client"},
    "512 sequences at once": {"max_num_seqs": 512},
}
TEXTS = {"texts of 512 tokens": (512, 1600), "texts of 64 tokens": (64, 8000)}
WORK = ("pages", *TEXTS, "queries beside pages", "texts beside pages", "pages, engine alone")
TEXTS_BESIDE_PAGES, TEXTS_A_SECOND = 1000, 150
EDGE = 64


def steady_rate(results: Iterable[object], n_results: int) -> float:
    """Return results a second between the first and the last few."""
    times = [time.perf_counter() for _ in results]
    first, last = EDGE, n_results - EDGE
    return round((last - first) / (times[last] - times[first]), 1)


@dataclass(frozen=True)
class Measured:
    """One choice at work. A figure is items a second, or milliseconds of texts beside 300 pages."""

    engine: InProcessEngine
    encoder: JinaEncoder
    pages: Sequence[Path]
    gpus: int

    def figure(self, work: str, round_number: int) -> float | dict[str, float]:
        """Measure one kind of work once."""
        match work:
            case "pages":
                return steady_rate(self.encoder.stream(self.pages, role="document"), len(self.pages))
            case "pages, engine alone":
                return self.engine_alone()
            case "queries beside pages":
                return one_after_another(self.encoder, self.pages[:300])
            case "texts beside pages":
                some = texts(TEXTS_BESIDE_PAGES, 64, round_number)
                return asyncio.run(
                    at_a_steady_pace(self.encoder, self.pages[:300], some, texts_a_second=TEXTS_A_SECOND)
                )
        tokens, number = TEXTS[work]
        items = texts(number * self.gpus, tokens, round_number)
        return steady_rate(self.encoder.stream(items, role="document"), len(items))

    def engine_alone(self) -> float:
        """Return the pages a second of vLLM by itself: all are rendered before, and their inputs kept."""
        runtime = self.engine._runtime  # noqa: SLF001 - what the package does around vLLM is left out on purpose
        assert runtime is not None
        render, kept = runtime.render, {}

        async def rendered(image: ImageHandle, token_ids: Sequence[int], llm: Any) -> dict[str, Any]:
            if image.origin not in kept:
                kept[image.origin] = await render(image, token_ids, llm)
            return kept[image.origin]

        runtime.render = rendered
        try:
            self.encoder.embed(self.pages, role="document")
            return steady_rate(self.encoder.stream(self.pages, role="document"), len(self.pages))
        finally:
            runtime.render = render


def measure(choice: str, options: argparse.Namespace) -> None:
    """Measure one choice in this process, and write its figures as they come."""
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
        measured = Measured(engine, encoder, pages, options.data_parallel)
        for round_number in range(options.rounds):
            for work in options.work:
                figures.setdefault(work, []).append(measured.figure(work, round_number))
                options.out.write_text(json.dumps(figures))
                print(f"{choice}, {work}: {figures[work][-1]}", flush=True)
        if options.long:
            figures["host memory while pages stream, MiB"] = memory_of_a_long_stream(encoder, pages, options.long)
            options.out.write_text(json.dumps(figures))


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
    parser.add_argument("--work", nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--pages", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-parallel", type=int, default=1)
    parser.add_argument("--long", type=int, default=0, metavar="N", help="then stream N pages and look at the memory")
    parser.add_argument("--name", default="gpu_speed", help="of the result file")
    parser.add_argument("--choice", choices=list(CHOICES), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.choice:
        measure(options.choice, options)
        return
    if options.pages <= 2 * EDGE:
        parser.error(f"--pages must be more than {2 * EDGE}, the beginning and end of a stream that are left out.")
    full_size.written()
    page_files.written(options.pages)
    device = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)  # noqa: S607
    speeds: dict[str, Any] = {}
    for choice in options.choices:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "figures.json"
            command = [sys.executable, __file__, *sys.argv[1:], "--choice", choice, "--out", str(out)]
            failed = subprocess.run(command, check=False).returncode
            figures = json.loads(out.read_text()) if out.exists() else {}
            speeds[choice] = {"options": CHOICES[choice], **figures} | ({"failed": failed} if failed else {})
        record(
            options.name, {"device": [line.split(" (")[0] for line in device.stdout.splitlines()], "choices": speeds}
        )


if __name__ == "__main__":
    main()
