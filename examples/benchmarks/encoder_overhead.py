"""What the encoder costs over the same vLLM used bare: ``LLM.encode`` and a pooling loop.

Both are warm and take turns in one run; the figure is the median ratio of neighbours. Target: at most 3% slower.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from recording import record
from tiny import BARE_OPTIONS, CHECKPOINT, OPTIONS, texts

from jina_vllm_integrations import InProcessEngine, JinaEncoder

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Measure and record."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=11)
    arguments.add_argument("--texts", type=int, default=2000)
    arguments.add_argument("--name", default="encoder_overhead")
    options = arguments.parse_args()

    from vllm import LLM
    from vllm.config import PoolerConfig

    llm = LLM(**BARE_OPTIONS, pooler_config=PoolerConfig(task="token_embed", use_activation=False))
    items = texts(options.texts)
    prompts = [f"Passage: {text}" for text in items]

    def bare() -> np.ndarray:
        vectors = []
        for output in llm.encode(prompts, pooling_task="token_embed", use_tqdm=False):
            mean = output.outputs.data.float().mean(dim=0)
            vectors.append((mean / mean.norm()).numpy())
        return np.stack(vectors)

    with InProcessEngine(CHECKPOINT, **OPTIONS) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        largest = float(np.abs(bare() - encoder.embed(items, role="document")).max())
        pairs = [(timed(bare), timed(lambda: encoder.embed(items, role="document"))) for _ in range(options.rounds)]
    record(
        options.name,
        {
            "texts": options.texts,
            "vllm_multiprocessing": os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "1"),
            "largest_difference_of_vectors": largest,
            "median_texts_per_second": {
                "LLM.encode and a loop": round(options.texts / median(bare for bare, _ in pairs)),
                "JinaEncoder.embed": round(options.texts / median(ours for _, ours in pairs)),
            },
            "median_ratio_of_times_ours_to_bare": round(median(ours / bare for bare, ours in pairs), 3),
            "seconds": [{"bare": round(bare, 3), "ours": round(ours, 3)} for bare, ours in pairs],
        },
    )


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
