"""Pages through the real engine on a machine without a GPU: where they are rendered, texts beside them, memory.

Three figures, each in processes of its own: pages a second, rendered in threads and in processes; how long a short text
takes, alone and while 300 pages are being embedded; the memory of all processes while 5,000 small pictures stream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beside_pages import at_a_steady_pace
from PIL import Image
from process_memory import memory_mib
from recording import record
from tiny import CHECKPOINT, OPTIONS, texts

import page_files
from jina_vllm_integrations import InProcessEngine, JinaEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = 300
TEXTS = 1000
PICTURES = 5000
TEXTS_A_SECOND = 20
# By how many processes each is measured.
WORK = {"pages": (0, 1, 2), "texts alone": (0,), "texts beside pages": (0,), "memory": (1,)}


def pages_per_second(encoder: JinaEncoder, rounds: int) -> list[float]:
    """Return the rates of some passes over A4 pages, after one that warms."""
    pages = page_files.written(48)
    encoder.embed(pages[:16], role="document")
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        encoder.embed(pages, role="document")
        rates.append(round(len(pages) / (time.perf_counter() - start), 2))
    return rates


def memory_of_a_stream(encoder: JinaEncoder) -> list[int]:
    """Return what all processes take together after each tenth of a stream of small pictures."""
    encoder.embed(list(pictures(64)), role="document")
    taken = []
    for number, _ in enumerate(encoder.stream(pictures(PICTURES), role="document"), start=1):
        if number % (PICTURES // 10) == 0:
            taken.append(memory_mib())
    return taken


def pictures(count: int) -> Iterator[bytes]:
    """Yield small pictures, all different, as the contents of JPEG files."""
    for number in range(count):
        file = BytesIO()
        Image.effect_noise((112, 112), 10 + number % 90).convert("RGB").save(file, "JPEG")
        yield file.getvalue()


def measure(kind: str, processes: int, rounds: int) -> Any:
    """Measure one figure in this process."""
    with InProcessEngine(CHECKPOINT, **OPTIONS, render_processes=processes) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        encoder.warmup()
        if kind == "pages":
            return pages_per_second(encoder, rounds)
        if kind == "memory":
            return memory_of_a_stream(encoder)
        pages = list(islice(cycle(page_files.written(48)), PAGES)) if kind == "texts beside pages" else []
        return asyncio.run(at_a_steady_pace(encoder, pages, texts(TEXTS), texts_a_second=TEXTS_A_SECOND))


def main() -> None:
    """Measure each figure in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--name", default="rendering", help="of the result file")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        options.out.write_text(json.dumps(measure(options.kind, options.processes, options.rounds)))
        return
    figures: dict[str, Any] = {}
    for kind in options.kinds:
        for processes in WORK[kind]:
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "figure.json"
                arguments = ["--kind", kind, "--processes", str(processes), "--out", str(out)]
                subprocess.run([sys.executable, __file__, *arguments, "--rounds", str(options.rounds)], check=True)
                figures[f"{kind}, {processes} render processes"] = json.loads(out.read_text())
            record(options.name, figures)


if __name__ == "__main__":
    main()
