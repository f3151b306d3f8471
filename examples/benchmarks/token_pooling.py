"""What fewer rows and fewer bytes cost: nDCG@5 of the demo checkpoint's 500 test pages, and the time to pool a page."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).parents[1] / "demo_model"))

import numpy as np
from recording import record
from search_sets import ndcg, search_set

from jina_vllm_integrations import JinaEncoder, TokenVectors
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.scoring import score_many
from jina_vllm_integrations.scoring.compression import pool_tokens
from jina_vllm_integrations.scoring.quantization import quantize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.types import VectorDtype

WAYS: tuple[tuple[int, VectorDtype], ...] = (
    *((1, "float32"), (1, "float16"), (1, "int8")),
    *((2, "float16"), (3, "float16"), (4, "float16"), (3, "int8")),
)
# 32 x 24 cells and the prompt around them: the largest page of the real model.
CELLS, PROMPT = 768, 11


def kept(pages: Sequence[TokenVectors], factor: int, dtype: VectorDtype) -> list[TokenVectors]:
    """Return pages as a store keeps them."""
    pooled = [pool_tokens(page, factor) for page in pages]
    small = [quantize(page.vectors, dtype) for page in pooled]
    return [
        replace(page, vectors=vectors, scales=scales) for page, (vectors, scales) in zip(pooled, small, strict=True)
    ]


def pooling_milliseconds(factor: int = 3, rounds: int = 21) -> float:
    """Return the median time to pool a large page of random vectors."""
    vectors = np.random.default_rng(0).standard_normal((CELLS + PROMPT, 128), dtype=np.float32)
    page = TokenVectors(
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        token_ids=np.zeros(CELLS + PROMPT, dtype=np.int64),
        image_mask=np.arange(CELLS + PROMPT) < CELLS,
        grid=(32, 24),
    )
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        pool_tokens(page, factor)
        times.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(times), 1)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="pages and queries")
    size = parser.parse_args().size
    chosen = search_set("pages", "test", size=size)
    with demo_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        queries = encoder.embed_tokens(chosen.queries, role="query")
        pages = encoder.embed_tokens(chosen.documents, role="document")
    results: dict[str, Any] = {}
    for factor, dtype in WAYS:
        documents = kept(pages, factor, dtype)
        figure = ndcg(score_many(queries, documents), chosen.languages)["all"]
        full = next(iter(results.values()))["ndcg@5"] if results else figure
        n_bytes = sum(page.vectors.nbytes + (0 if page.scales is None else page.scales.nbytes) for page in documents)
        results[f"factor {factor}, {dtype}"] = {
            "ndcg@5": figure,
            "percent_of_full": round(100 * figure / full, 1),
            "rows_a_page": round(float(np.mean([len(page.vectors) for page in documents])), 1),
            "kb_a_page": round(n_bytes / size / 1024, 1),
        }
    record("token_pooling", {"pages": size, "results": results, "ms_to_pool_a_page_of_768": pooling_milliseconds()})


if __name__ == "__main__":
    main()
