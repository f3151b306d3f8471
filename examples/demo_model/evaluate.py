"""Measure the package's demo checkpoint on the test sets, through vLLM: ``make eval``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import numpy as np
from search_sets import SET_NAMES, ndcg, search_set

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.scoring import score
from jina_vllm_integrations.types import Task

if TYPE_CHECKING:
    from search_sets import SearchSet

    from jina_vllm_integrations import InProcessEngine

RESULTS = Path(__file__).parent / "results" / "evaluation.json"


def evaluate(engine: InProcessEngine, chosen: SearchSet, task: Task) -> dict[str, Any]:
    """Return a set's nDCG@5 by one task's adapter: dense, by late interaction, and dense in the shorter sizes."""
    encoder = JinaEncoder(engine, task=task)
    documents, document_tokens = encoder.embed_both(chosen.documents, role="document")
    queries, query_tokens = encoder.embed_both(chosen.queries, role="query")
    vectors = [tokens.vectors for tokens in document_tokens]
    late = np.stack([score(tokens.vectors, vectors) for tokens in query_tokens])
    found = {
        "dense": ndcg(queries @ documents.T, chosen.languages),
        "late interaction": ndcg(late, chosen.languages),
    }
    # Only of the task that was trained for the set: of the others no more is asked than to be worse.
    for size in engine.checkpoint.matryoshka_dimensions[:-1] if task == chosen.task else ():
        encoder = JinaEncoder(engine, task=task, dimensions=size)
        documents = encoder.embed(chosen.documents, role="document")
        queries = encoder.embed(chosen.queries, role="query")
        found[f"dense, {size} values"] = ndcg(queries @ documents.T, chosen.languages)
    return found


def main() -> None:
    """Evaluate every set by every task's adapter, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="queries and documents a set")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    began = time.monotonic()
    results: dict[str, Any] = {}
    with demo_engine() as engine:
        for name in SET_NAMES:
            chosen = search_set(name, "test", size=options.size)
            results[name] = {task: evaluate(engine, chosen, task) for task in get_args(Task)}
            print_rows(name, results[name], chosen.task)
    facts = {
        "command": f"make eval (--size {options.size})",
        "measure": "nDCG@5; each query has one right document; all, and by the query's language",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "minutes": round((time.monotonic() - began) / 60, 1),
        "results": results,
    }
    options.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def print_rows(name: str, results: dict[str, Any], trained: Task) -> None:
    """Print a set's figures, a row a task; a star marks the task that was trained for it."""
    for task, found in results.items():
        figures = "  ".join(f"{way} {figure['all']:.3f}" for way, figure in found.items())
        print(f"{name:<11} {task + '*' * (task == trained):<15} {figures}", flush=True)


if __name__ == "__main__":
    main()
