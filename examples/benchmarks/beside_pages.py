"""How long texts take while pages are being indexed."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jina_vllm_integrations import JinaEncoder

SECONDS_BETWEEN_QUERIES = 0.02


def one_after_another(encoder: JinaEncoder, pages: Sequence[Path]) -> dict[str, float]:
    """Embed a query, and the next one a little after its answer, until the pages are done."""
    done = threading.Event()
    start = time.perf_counter()

    def index() -> None:
        try:
            for _ in encoder.stream(pages, role="document"):
                pass
        finally:
            done.set()

    indexing = threading.Thread(target=index)
    indexing.start()
    seconds = []
    for number in count():
        begin = time.perf_counter()
        encoder.embed([f"where is invoice number {number}"], role="query")
        if done.is_set():
            break
        seconds.append(time.perf_counter() - begin)
        time.sleep(SECONDS_BETWEEN_QUERIES)
    indexing.join()
    return _summary(seconds, len(pages) / (time.perf_counter() - start))


async def at_a_steady_pace(
    encoder: JinaEncoder, pages: Sequence[Path], texts: Sequence[str], *, texts_a_second: float
) -> dict[str, float]:
    """Embed texts at a pace that waits for no answer, until the pages are done or the texts; without pages, all."""

    async def index() -> None:
        await encoder.aembed(pages, role="document")

    async def timed(text: str) -> float:
        begin = time.perf_counter()
        await encoder.aembed([text], role="query")
        return time.perf_counter() - begin

    start = time.perf_counter()
    indexing = asyncio.create_task(index())
    asked = []
    for number, text in enumerate(texts, start=1):
        asked.append(asyncio.create_task(timed(text)))
        await asyncio.sleep(start + number / texts_a_second - time.perf_counter())
        if pages and indexing.done():
            break
    await indexing
    seconds = time.perf_counter() - start
    return _summary(await asyncio.gather(*asked), len(pages) / seconds)


def _summary(seconds: Sequence[float], pages_per_second: float) -> dict[str, float]:
    milliseconds = [1000 * each for each in seconds]
    return {
        "texts": len(milliseconds),
        "p50": round(statistics.median(milliseconds), 1),
        "p95": round(statistics.quantiles(milliseconds, n=20)[-1], 1),
        "pages_per_second": round(pages_per_second, 2),
    }
