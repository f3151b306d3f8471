"""From a folder of PDFs to an index, and a search of it: how far is that from what the engine alone does?

The geometry of jina-embeddings-v4 with random weights, on a GPU. Text PDFs, whose pages are drawn by operators, and
scanned PDFs, a JPEG a page. The engine alone embeds the pages' images out of memory, dense and token vectors from one
pass. All ways run in one process of one engine, whole, from the first file to the last vector that is kept; the
retriever is LangChain's, over an in-memory store and a `TokenStore`. With ``--fake`` the engine is `FakeEngine`, which
costs next to nothing: then what is left is what this package costs.
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.vectorstores import InMemoryVectorStore
from recording import record

import page_files
from jina_vllm_integrations import JinaEncoder, TokenStore
from jina_vllm_integrations.images import inspect
from jina_vllm_integrations.langchain import JinaVLLMByteStore, JinaVLLMEmbeddings, JinaVLLMRetriever, PageImageLoader
from jina_vllm_integrations.pages import PageReader

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(tempfile.gettempdir()) / "jina-vllm-ingestion"
OPTIONS = {"max_model_len": 4096, "gpu_memory_utilization": 0.6}
WORDS = ("invoice", "total", "garden", "castle", "museum", "train", "candle", "ticket", "price", "report", "engine")
N_FILES, N_QUERIES, N_ROUNDS = 8, 40, 3


def text_pdf(path: Path, n_pages: int, seed: int) -> None:
    """Write pages of 55 lines of words and six rectangles."""
    random = np.random.default_rng(seed)
    parts = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    for _ in range(n_pages):
        lines = b"".join(b"(%s)Tj T*\n" % " ".join(random.choice(WORDS, 14)).encode() for _ in range(55))
        boxes = b"".join(
            b"%f %f %f rg %d %d %d %d re f\n"
            % (*random.random(3), *random.integers(50, 400, 2), *random.integers(20, 120, 2))
            for _ in range(6)
        )
        content = b"BT /F1 10 Tf 1 0 0 1 50 800 Tm 13 TL\n" + lines + b"ET\n" + boxes
        parts.append(b"<</Length %d>>stream\n" % len(content) + content + b"\nendstream")
        parts.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>"
            % len(parts)
        )
    kids = b" ".join(b"%d 0 R" % (5 + 2 * page) for page in range(n_pages))
    parts[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (n_pages, kids)
    file, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, len(file))
    path.write_bytes(file + b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1) + table + trailer)


def scanned_pdf(path: Path, n_pages: int, seed: int) -> None:
    """Write pages of a JPEG each."""
    first, *others = (page_files._page(np.random.default_rng(seed * 1000 + page)) for page in range(n_pages))  # noqa: SLF001
    first.save(path, "PDF", save_all=True, append_images=others, resolution=150, quality=88)


def written(n_pages: int) -> dict[str, Path]:
    """Write both kinds of documents, and return their folders."""
    shutil.rmtree(ROOT, ignore_errors=True)
    kinds: dict[str, Callable[[Path, int, int], None]] = {"text PDFs": text_pdf, "scanned PDFs": scanned_pdf}
    folders = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for kind, write in kinds.items():
            folders[kind] = ROOT / kind.split()[0]
            folders[kind].mkdir(parents=True)
            paths = [folders[kind] / f"{number}.pdf" for number in range(N_FILES)]
            list(pool.map(write, paths, [n_pages // N_FILES] * N_FILES, range(N_FILES)))
    return folders


def encoded(folder: Path) -> list[bytes]:
    """Return the pages' images, as JPEG in memory."""
    contents = []
    for page in PageReader().read(folder):
        file = io.BytesIO()
        inspect(page.image.source).load().save(file, "JPEG", quality=88)
        contents.append(file.getvalue())
    return contents


def pages_a_second(n_pages: int, work: Callable[[], object]) -> float:
    """Return the rate of a whole run."""
    started = time.perf_counter()
    work()
    return round(n_pages / (time.perf_counter() - started), 1)


def search_ms(retriever: JinaVLLMRetriever) -> dict[str, float]:
    """Return the median and the worst of queries one after the other, the first apart."""
    times = []
    for number in range(N_QUERIES + 1):
        started = time.perf_counter()
        retriever.invoke(f"castle museum ticket {number}", k=5)
        times.append((time.perf_counter() - started) * 1e3)
    first, *others = times
    return {
        "first": round(first, 1),
        "p50": round(statistics.median(others), 1),
        "p95": round(float(np.percentile(others, 95)), 1),
        "worst": round(max(others), 1),
    }


def ingest(folder: Path, retriever: JinaVLLMRetriever) -> None:
    """Fill a retriever from files."""
    retriever.add_documents(list(PageImageLoader(folder).lazy_load()))


def measured(engine: Any, folder: Path, n_pages: int, n_rounds: int) -> dict[str, Any]:
    """Return the figures of one kind of documents."""
    encoder = JinaEncoder(engine, task="retrieval")
    images = encoded(folder)
    encoder.embed_both(images[:64], role="document")
    rates: list[list[float]] = [[], [], [], []]
    alone, loader, filling, again = rates
    for number in range(n_rounds):
        alone.append(pages_a_second(n_pages, lambda: encoder.embed_both(images, role="document")))
        loader.append(pages_a_second(n_pages, lambda: list(PageImageLoader(folder).lazy_load())))
        place = ROOT / f"{folder.name} {number}"
        with TokenStore(place / "tokens") as tokens, JinaVLLMByteStore(place / "dense") as dense:
            retrievers = [
                JinaVLLMRetriever(
                    vectorstore=InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine, cache=dense)),
                    token_store=tokens,
                    allowed_image_roots=(ROOT,),
                )
                for _ in range(2)
            ]
            for figures, retriever in zip((filling, again), retrievers, strict=True):
                figures.append(pages_a_second(n_pages, partial(ingest, folder, retriever)))
            searches = search_ms(retrievers[0])
    names = ("engine alone, images in memory", "loader alone", "PDFs to retriever", "PDFs to retriever, again")
    return {
        **dict(zip(names, rates, strict=True)),
        "of the engine's rate": round(statistics.median(filling) / statistics.median(alone), 3),
        "search, ms": searches,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument("--fp8", action="store_true")
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--name", default="ingestion")
    arguments = parser.parse_args()
    folders = written(arguments.pages)
    figures: dict[str, Any] = {"pages": arguments.pages}
    if arguments.fake:
        from jina_vllm_integrations.testing import FakeEngine

        made: Any = FakeEngine()
    else:
        import full_size

        from jina_vllm_integrations import InProcessEngine

        made = InProcessEngine(full_size.written(), **OPTIONS, **({"quantization": "fp8"} if arguments.fp8 else {}))
    with made as engine:
        started = time.perf_counter()
        JinaEncoder(engine, task="retrieval").warmup()
        figures["start, s"] = round(time.perf_counter() - started, 1)
        for kind, folder in folders.items():
            figures[kind] = measured(engine, folder, arguments.pages, arguments.rounds)
            print(kind, figures[kind], file=sys.stderr, flush=True)
    figures["memory of this process, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    record(arguments.name, figures)


if __name__ == "__main__":
    main()
