"""What LangChain's interfaces cost over the encoder below them, and whether they find as much.

Three figures, each beside its target:

- `JinaVLLMEmbeddings` beside `JinaEncoder`, on short texts: both ways take turns in one run, and the figure is the
  median ratio of neighbours. Python floats instead of an array are part of the price.
- The longest time that an event loop was held while 50 searches ran in it at once, by a clock in that loop. The same
  loop's clock without searches says what the machine adds by itself.
- nDCG@5 of `JinaVLLMRetriever` on the demo model's 500 test pages, beside the reranker's own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).parents[1] / "demo_model"))

import numpy as np
from langchain_core.vectorstores import InMemoryVectorStore
from recording import record
from search_sets import ndcg, search_set
from tiny import CHECKPOINT, OPTIONS, texts
from turns import compared

from jina_vllm_integrations import InProcessEngine, JinaEncoder, LateInteractionReranker, TokenStore
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOP = 50
SEARCHES = 50


def measure_overhead(size: int, rounds: int) -> dict[str, Any]:
    """Embed the same texts through the adapter and through the encoder, by turns."""
    items = texts(size)
    with InProcessEngine(CHECKPOINT, **OPTIONS) as engine:
        encoder, adapter = JinaEncoder(engine, task="retrieval"), JinaVLLMEmbeddings(engine=engine)
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "sync": (lambda: encoder.embed(items, role="document"), lambda: adapter.embed_documents(items)),
            "async": (
                lambda: asyncio.run(encoder.aembed(items, role="document")),
                lambda: asyncio.run(adapter.aembed_documents(items)),
            ),
        }
        return {name: compared(size, *pair, rounds, adapter="JinaVLLMEmbeddings") for name, pair in ways.items()}


def retriever_over(engine: InProcessEngine, store: TokenStore, pages: Path) -> JinaVLLMRetriever:
    """Return an empty retriever."""
    return JinaVLLMRetriever(
        vectorstore=InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine)),
        token_store=store,
        allowed_image_roots=(pages,),
        k=5,
        fetch_k=TOP,
    )


def measure_quality(engine: InProcessEngine, retriever: JinaVLLMRetriever, pages: Path, size: int) -> dict[str, Any]:
    """Search the pages by the retriever, and by the encoder and the reranker that it is made of."""
    chosen = search_set("pages", "test", size=size)
    files = [pages / f"{number:03}.png" for number in range(size)]
    for image, file in zip(chosen.documents, files, strict=True):
        image.save(file)
    retriever.add_images(files, ids=[str(number) for number in range(size)])
    encoder = JinaEncoder(engine, task="retrieval")
    dense = encoder.embed(chosen.queries, role="query") @ encoder.embed(files, role="document").T
    reranker = LateInteractionReranker(encoder, retriever.token_store)
    ranked, found = (np.full((size, size), -np.inf, dtype=np.float32) for _ in range(2))
    for row, query in enumerate(chosen.queries):
        top = np.argsort(-dense[row], kind="stable")[:TOP]
        for each in reranker.rerank(query, [files[column] for column in top]):
            ranked[row, top[each.index]] = each.score
        for document in retriever.invoke(query):
            found[row, int(str(document.id))] = document.metadata["relevance_score"]
    return {
        f"ndcg@5 of {size} queries over {size} pages": {
            "dense": ndcg(dense, chosen.languages)["all"],
            f"the dense top {TOP}, reranked": ndcg(ranked, chosen.languages)["all"],
            "JinaVLLMRetriever (target: not lower)": ndcg(found, chosen.languages)["all"],
        }
    }


async def longest_pause(queries: Sequence[str], retriever: JinaVLLMRetriever | None) -> dict[str, float]:
    """Return how long the event loop was held at most, while it searched for all queries at once, or did nothing."""
    pauses: list[float] = []

    async def clock() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0)
            pauses.append(time.perf_counter() - start)

    ticking = asyncio.create_task(clock())
    start = time.perf_counter()
    if retriever is None:
        await asyncio.sleep(1)
    else:
        await asyncio.gather(*(retriever.ainvoke(query) for query in queries))
    seconds = time.perf_counter() - start
    ticking.cancel()
    return {"longest_pause_ms": round(max(pauses) * 1000, 1), "seconds": round(seconds, 3)}


def measure_pauses(retriever: JinaVLLMRetriever, rounds: int) -> dict[str, Any]:
    """Search many times at once, round after round."""
    queries = search_set("pages", "test", size=SEARCHES).queries
    asyncio.run(longest_pause(queries, retriever))  # opens the store, compiles
    found = [asyncio.run(longest_pause(queries, retriever)) for _ in range(rounds)]
    idle = [asyncio.run(longest_pause(queries, None)) for _ in range(rounds)]
    return {
        "searches_at_once": SEARCHES,
        "median_longest_pause_ms (target: at most 50)": median(each["longest_pause_ms"] for each in found),
        "longest_pause_ms_of_each_round": [each["longest_pause_ms"] for each in found],
        "of_an_idle_loop": [each["longest_pause_ms"] for each in idle],
        "median_seconds_for_all": median(each["seconds"] for each in found),
    }


def main() -> None:
    """Measure and record."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=21)
    arguments.add_argument("--texts", type=int, default=2000)
    arguments.add_argument("--pages", type=int, default=500)
    options = arguments.parse_args()
    figures: dict[str, Any] = {"overhead": measure_overhead(options.texts, options.rounds)}
    with tempfile.TemporaryDirectory() as folder, demo_engine() as engine, TokenStore(Path(folder) / "store") as store:
        pages = Path(folder) / "pages"
        pages.mkdir()
        retriever = retriever_over(engine, store, pages)
        figures["quality"] = measure_quality(engine, retriever, pages, options.pages)
        figures["event_loop"] = measure_pauses(retriever, rounds=7)
    record("langchain_adapter", figures)


if __name__ == "__main__":
    main()
