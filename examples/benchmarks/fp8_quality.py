"""What fp8 costs in quality: nDCG@5 of the demo checkpoint's test sets, and how far its vectors are from float32's.

Its weights were trained, so their vectors can be judged by what they find. On a CPU, by `fp8_rounding`: what fp8 rounds
is rounded, and the rest is bfloat16, as on a GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).parents[1] / "demo_model"))

import numpy as np
from recording import record
from search_sets import SET_NAMES, ndcg, search_set

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.scoring import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search_sets import SearchSet

    from jina_vllm_integrations import InProcessEngine

REFERENCE = "float32"
WAYS: dict[str, dict[str, Any]] = {
    REFERENCE: {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "fp8": {"dtype": "bfloat16", "quantization": "rounded_to_fp8"},
    "fp8, a scale for each row of a weight matrix": {
        "dtype": "bfloat16",
        "quantization": "rounded_to_fp8_per_channel",
    },
}


def vectors_of(engine: InProcessEngine, chosen: SearchSet) -> dict[str, np.ndarray]:
    """Return a set's dense vectors, and the scores of late interaction."""
    encoder = JinaEncoder(engine, task=chosen.task)
    documents, document_tokens = encoder.embed_both(chosen.documents, role="document")
    queries, query_tokens = encoder.embed_both(chosen.queries, role="query")
    tokens = [document.vectors for document in document_tokens]
    late = np.stack([score(query.vectors, tokens) for query in query_tokens])
    return {"documents": documents, "queries": queries, "late": late}


def compute(way: str, size: int, folder: Path) -> None:
    """Compute all sets in this process, a file each."""
    if "quantization" in WAYS[way]:
        import fp8_rounding  # noqa: F401 - registers it
    with demo_engine(**WAYS[way]) as engine:
        for name in SET_NAMES:
            np.savez(folder / f"{name}.npz", **vectors_of(engine, search_set(name, "test", size=size)))


def figures(languages: Sequence[str], found: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the quality of a set, and the cosines of its vectors with the reference's."""
    return {
        "ndcg@5": {
            "dense": ndcg(found["queries"] @ found["documents"].T, languages)["all"],
            "late interaction": ndcg(found["late"], languages)["all"],
        },
        "cosine": {
            kind: {"least": round(float(rows.min()), 5), "median": round(float(np.median(rows)), 5)}
            for kind in ("documents", "queries")
            for rows in [(found[kind] * reference[kind]).sum(axis=1)]
        },
    }


def main() -> None:
    """Compute each way in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="queries and documents a set")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        compute(options.way, options.size, options.out)
        return
    languages = {name: search_set(name, "test", size=options.size).languages for name in SET_NAMES}
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {way: Path(scratch) / str(number) for number, way in enumerate(WAYS)}
        for way, folder in folders.items():
            folder.mkdir()
            command = [sys.executable, __file__, "--way", way, "--out", str(folder), "--size", str(options.size)]
            subprocess.run(command, check=True)
            results[way] = {}
            for name in SET_NAMES:
                files = [np.load(of / f"{name}.npz") for of in (folder, folders[REFERENCE])]
                results[way][name] = figures(languages[name], *files)
    record("fp8_quality", {"queries_and_documents_a_set": options.size, "ways": results})


if __name__ == "__main__":
    main()
