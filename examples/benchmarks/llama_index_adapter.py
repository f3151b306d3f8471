"""What LlamaIndex's embedding interface costs over the encoder below it.

`JinaVLLMEmbedding` beside `JinaEncoder`, on short texts, by `get_text_embedding_batch` and its asynchronous twin: both
ways take turns in one run, and the figure is the median ratio of neighbours. Python floats instead of an array,
LlamaIndex's events, and looking for equal texts are part of the price.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from recording import record
from tiny import CHECKPOINT, OPTIONS, texts
from turns import compared

from jina_vllm_integrations import InProcessEngine, JinaEncoder
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding

if TYPE_CHECKING:
    from collections.abc import Callable


def measure_overhead(size: int, rounds: int) -> dict[str, Any]:
    """Embed the same texts through the adapter and through the encoder, by turns."""
    items = texts(size)
    with InProcessEngine(CHECKPOINT, **OPTIONS) as engine:
        encoder, adapter = JinaEncoder(engine, task="retrieval"), JinaVLLMEmbedding(engine=engine)
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "sync": (lambda: encoder.embed(items, role="document"), lambda: adapter.get_text_embedding_batch(items)),
            "async": (
                lambda: asyncio.run(encoder.aembed(items, role="document")),
                lambda: asyncio.run(adapter.aget_text_embedding_batch(items)),
            ),
        }
        return {name: compared(size, *pair, rounds, adapter="JinaVLLMEmbedding") for name, pair in ways.items()}


def main() -> None:
    """Measure and record."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=21)
    arguments.add_argument("--texts", type=int, default=2000)
    options = arguments.parse_args()
    record("llama_index_adapter", {"overhead": measure_overhead(options.texts, options.rounds)})


if __name__ == "__main__":
    main()
