"""What Python's garbage collector costs a stream of short texts: its default, and as it is while an engine is up.

Both by turns in one run, on the tiny checkpoint. The processor time is of this process, which feeds vLLM; a pause is
the time between two results, a batch of vLLM included.
"""

from __future__ import annotations

import argparse
import gc
import time
from statistics import median
from typing import Any

from recording import record
from tiny import CHECKPOINT, OPTIONS, texts

from jina_vllm_integrations import InProcessEngine, JinaEncoder

OLDEST = 2  # the generation whose search is one of all objects
BATCH_TOKENS = 8192  # as on a GPU: more requests are in flight than by a CPU's default


def streamed(encoder: JinaEncoder, items: list[str]) -> dict[str, float]:
    """Embed a stream, and return what it took and how the collector worked."""
    began: list[float] = []
    searches: list[float] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if info["generation"] == OLDEST:
            if phase == "start":
                began.append(time.perf_counter())
            else:
                searches.append(time.perf_counter() - began[-1])

    gc.collect()
    gc.callbacks.append(note)
    pauses = []
    processor, last = time.process_time(), time.perf_counter()
    for _ in encoder.stream(items, role="document"):
        now = time.perf_counter()
        pauses.append(now - last)
        last = now
    processor = time.process_time() - processor
    gc.callbacks.remove(note)
    return {
        "processor_milliseconds_a_text": round(1000 * processor / len(items), 3),
        "longest_pause_seconds": round(max(pauses), 3),
        "searches_of_all_objects": len(searches),
        "seconds_in_them": round(sum(searches), 3),
    }


def main() -> None:
    """Measure by turns and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=4000)
    options = parser.parse_args()
    items = texts(options.texts)
    default = gc.get_threshold()
    with InProcessEngine(CHECKPOINT, **OPTIONS, max_num_batched_tokens=BATCH_TOKENS) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        encoder.embed(items[:500], role="document")
        ways = {"by default": default, "as it is while an engine is up": gc.get_threshold()}
        rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(options.rounds):
            for way in reversed(ways) if number % 2 else ways:
                gc.set_threshold(*ways[way])
                rounds[way].append(streamed(encoder, items))
        objects = len(gc.get_objects())
    figures: dict[str, Any] = {
        way: {name: median(each[name] for each in of_way) for name in of_way[0]} for way, of_way in rounds.items()
    }
    record("garbage_collection", {"texts": options.texts, "objects": objects, "medians": figures, "rounds": rounds})


if __name__ == "__main__":
    main()
