"""What the encoder costs over the same vLLM used bare.

With ``--pooling client``: stock vLLM, ``LLM.encode`` and a pooling loop. With ``--pooling engine``: our plugin in both,
``LLM.encode`` asking it for dense vectors. Both ways are warm and take turns in one run; the figure is the median ratio
of neighbours. Target: at most 3% slower.
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
    arguments.add_argument("--pooling", choices=["client", "engine"], required=True)
    options = arguments.parse_args()

    from vllm import LLM, PoolingParams
    from vllm.config import PoolerConfig

    bare_options = dict(BARE_OPTIONS)
    if options.pooling == "engine":
        del bare_options["hf_overrides"]  # the checkpoint itself names our model class
    llm = LLM(**bare_options, pooler_config=PoolerConfig(task="token_embed", use_activation=False))
    items = texts(options.texts)
    prompts = [f"Passage: {text}" for text in items]

    parameters = PoolingParams(task="token_embed", use_activation=False, extra_kwargs={"output": "dense"})

    def bare() -> np.ndarray:
        outputs = llm.encode(prompts, parameters, pooling_task="token_embed", use_tqdm=False)
        if options.pooling == "engine":
            return np.stack([output.outputs.data.numpy() for output in outputs])
        vectors = []
        for output in outputs:
            mean = output.outputs.data.float().mean(dim=0)
            vectors.append((mean / mean.norm()).numpy())
        return np.stack(vectors)

    with InProcessEngine(CHECKPOINT, pooling=options.pooling, **OPTIONS) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        largest = float(np.abs(bare() - encoder.embed(items, role="document")).max())
        pairs = [(timed(bare), timed(lambda: encoder.embed(items, role="document"))) for _ in range(options.rounds)]
    record(
        f"encoder_overhead_{options.pooling}",
        {
            "texts": options.texts,
            "vllm_multiprocessing": os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "1"),
            "largest_difference_of_vectors": largest,
            "median_texts_per_second": {
                "LLM.encode": round(options.texts / median(bare for bare, _ in pairs)),
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
