"""What a search over stored pages costs the process that calls it, and how long 50 at once hold its event loop.

Over `testing.FakeEngine`, whose model costs almost nothing, through the retrievers of both frameworks: the first stage
is the frameworks' own vector store in memory, the second a `TokenStore` that has all pages' token vectors. Targets: at
most 25 ms of CPU a search, and no hold of the event loop over 50 ms.

- CPU is that of the whole process, its threads included, so it says the same on a busy machine. Beside it, what the
  vector store took by itself for the same vectors.
- How long the loop was held: by the CPU that its thread spent within one callback, the longest of a round; and by how
  late a heartbeat came, by the clock, in the same rounds. The second one knows who held Python's lock as well, and what
  else the machine did: a heartbeat in an idle loop says how much that was. Python's garbage collector goes through all
  objects now and then, in whichever thread it is due, and stops all: what it took is in each round, and rounds without
  such a collection are summed up by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.indices import VectorStoreIndex
from llama_index.core.schema import ImageNode
from llama_index.core.vector_stores import VectorStoreQuery
from PIL import Image
from recording import record

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever
from jina_vllm_integrations.testing import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

TOP = 50
AT_ONCE = 50
_SIZE = (280, 392)  # 140 image tokens
_CELL = 28
_BEAT = 0.002
_OLDEST = 2


def drawn_pages(folder: Path, n_pages: int) -> list[Path]:
    """Write pages of coloured cells, no two alike."""
    rng = np.random.default_rng(0)
    files = [folder / f"{number:04}.png" for number in range(n_pages)]
    for file in files:
        cells = rng.integers(0, 256, (_SIZE[1] // _CELL, _SIZE[0] // _CELL, 3), dtype=np.uint8)
        Image.fromarray(cells).resize(_SIZE, Image.Resampling.NEAREST).save(file)
    return files


def texts(number: int) -> Iterator[str]:
    """Yield queries, no two alike."""
    for each in range(number):
        yield f"What was the total of invoice {each} from the {each % 28 + 1}th, and who has signed it?"


class LangChainWay:
    """Searches through `JinaVLLMRetriever`."""

    def __init__(self, engine: FakeEngine, store: TokenStore, files: list[Path]) -> None:
        self._embeddings = JinaVLLMEmbeddings(engine=engine)
        self._vectors = InMemoryVectorStore(self._embeddings)
        retriever = JinaVLLMRetriever(
            vectorstore=self._vectors, token_store=store, allowed_image_roots=(files[0].parent,), fetch_k=TOP
        )
        retriever.add_images(files)
        self.search: Callable[[str], object] = retriever.invoke
        self.asearch: Callable[[str], Awaitable[object]] = retriever.ainvoke

    def first_stage(self, query: str) -> Callable[[], object]:
        """Return the vector store's part of a search."""
        vector = self._embeddings.embed_query(query)
        return lambda: self._vectors.similarity_search_by_vector(vector, k=TOP)


class LlamaIndexWay:
    """Searches through `JinaVLLMMultiVectorRetriever`."""

    def __init__(self, engine: FakeEngine, store: TokenStore, files: list[Path]) -> None:
        self._embedding = JinaVLLMEmbedding(engine=engine)
        self._index = VectorStoreIndex([], embed_model=self._embedding)
        retriever = JinaVLLMMultiVectorRetriever(
            index=self._index,
            embedding=self._embedding,
            token_store=store,
            allowed_image_roots=(files[0].parent,),
            fetch_k=TOP,
        )
        retriever.insert_nodes([ImageNode(image_path=str(file), id_=file.stem) for file in files])
        self.search: Callable[[str], object] = retriever.retrieve
        self.asearch: Callable[[str], Awaitable[object]] = retriever.aretrieve

    def first_stage(self, query: str) -> Callable[[], object]:
        """Return the vector store's part of a search."""
        asked = VectorStoreQuery(query_embedding=self._embedding.get_query_embedding(query), similarity_top_k=TOP)
        return lambda: self._index.vector_store.query(asked)


def cpu_ms(call: Callable[[], object]) -> float:
    """Return what a call took of this process's cores."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1000


def measure_cpu(way: LangChainWay | LlamaIndexWay, searches: int) -> dict[str, Any]:
    """Search one after another, and let the vector store find the same by itself, by turns."""
    for query in texts(5):
        way.search(query)
    whole, first = [], []
    for query in texts(searches):
        alone = way.first_stage(query)
        first.append(cpu_ms(alone))
        whole.append(cpu_ms(lambda query=query: way.search(query)))  # type: ignore[misc]
    return {
        "median_cpu_ms (target: at most 25)": round(median(whole), 2),
        "p95_cpu_ms": round(quantiles(whole, n=20)[-1], 2),
        "median_cpu_ms_of_the_vector_store": round(median(first), 2),
        "cpu_ms": [round(each, 2) for each in whole],
    }


@contextmanager
def timed_callbacks() -> Iterator[list[float]]:
    """Note what each callback of an event loop takes of its thread's CPU, in milliseconds."""
    taken: list[float] = []
    run = asyncio.Handle._run  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other place where all pass

    def timed(handle: asyncio.Handle) -> None:
        start = time.thread_time()
        run(handle)
        taken.append((time.thread_time() - start) * 1000)

    asyncio.Handle._run = timed  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield taken
    finally:
        asyncio.Handle._run = run  # type: ignore[attr-defined]  # noqa: SLF001


@contextmanager
def timed_collections() -> Iterator[list[float]]:
    """Note how long the garbage collector went through all objects, in milliseconds."""
    taken: list[float] = []
    began = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if info["generation"] < _OLDEST:
            return
        if phase == "start":
            began = time.perf_counter()
        else:
            taken.append(round((time.perf_counter() - began) * 1000, 2))

    gc.callbacks.append(note)
    try:
        yield taken
    finally:
        gc.callbacks.remove(note)


async def one_round(searches: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """Await searches, and return how long the loop was held meanwhile."""
    late: list[float] = []

    async def heart() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(_BEAT)
            late.append((time.perf_counter() - start - _BEAT) * 1000)

    beating = asyncio.create_task(heart())
    with timed_callbacks() as taken, timed_collections() as collected:
        start = time.perf_counter()
        await searches()
        seconds = time.perf_counter() - start
    await asyncio.sleep(2 * _BEAT)  # a beat that the last search held up
    beating.cancel()
    return {
        "cpu_ms": round(max(taken), 2),
        "late_ms": round(max(late), 2),
        "seconds": round(seconds, 3),
        "full_collections_ms": collected,
    }


def measure_loop(way: LangChainWay | LlamaIndexWay, rounds: int) -> dict[str, Any]:
    """Search many times at once, in a loop that is new and has no threads, and again; and wait in an idle one."""

    async def at_once() -> None:
        await asyncio.gather(*(way.asearch(query) for query in texts(AT_ONCE)))

    async def two_rounds() -> tuple[dict[str, Any], dict[str, Any]]:
        return await one_round(at_once), await one_round(at_once)

    asyncio.run(at_once())
    pairs = [asyncio.run(two_rounds()) for _ in range(rounds)]
    figures = {name: _summary([pair[place] for pair in pairs]) for place, name in enumerate(("new loop", "warm loop"))}
    idle = [asyncio.run(one_round(lambda: asyncio.sleep(0.5)))["late_ms"] for _ in range(rounds)]
    return {**figures, "late_ms_of_an_idle_loop": {"median": round(median(idle), 2), "worst": max(idle)}}


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    without = [each for each in found if not each["full_collections_ms"]]
    return {
        "all": _figures(found),
        "without a full collection": _figures(without) if without else {},
        "median_seconds_for_all": round(median(each["seconds"] for each in found), 3),
        "rounds": found,
    }


def _figures(found: list[dict[str, Any]]) -> dict[str, Any]:
    held, late = ([each[name] for each in found] for name in ("cpu_ms", "late_ms"))
    return {
        "rounds": len(found),
        "longest_callback_cpu_ms (target: at most 50)": {"median": round(median(held), 2), "worst": max(held)},
        "latest_heartbeat_ms (target: at most 50)": {
            "quietest": min(late),
            "median": round(median(late), 2),
            "worst": max(late),
        },
    }


def main() -> None:
    """Measure and record."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pages", type=int, default=1000)
    arguments.add_argument("--searches", type=int, default=30)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    figures: dict[str, Any] = {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, FakeEngine() as engine:
        pages = Path(folder) / "pages"
        pages.mkdir()
        files = drawn_pages(pages, options.pages)
        with TokenStore(Path(folder) / "store") as store:
            ways = {
                "LangChain": LangChainWay(engine, store, files),
                "LlamaIndex": LlamaIndexWay(engine, store, files),
            }
            for name, way in ways.items():
                figures[name] = {
                    "one after another": measure_cpu(way, options.searches),
                    f"{AT_ONCE} at once": measure_loop(way, options.rounds),
                }
    record(
        "stored_search",
        {"pages": options.pages, "fetch_k": TOP, "load_before_and_after": [load, os.getloadavg()[0]], **figures},
    )


if __name__ == "__main__":
    main()
