"""A first look: sentences in three languages and a few pictures through a real vLLM."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jina_vllm_integrations import random_checkpoint
from jina_vllm_integrations.engines.in_process import InProcessEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jina_vllm_integrations.encoder import JinaEncoder
    from jina_vllm_integrations.types import FloatArray, Item

SENTENCES = {
    "de: train": "Der Zug nach Berlin fährt um acht Uhr ab.",
    "en: train": "The train to Berlin leaves at eight o'clock.",
    "ja: train": "ベルリン行きの列車は八時に出発します。",
    "de: soup": "Die Suppe braucht noch etwas Salz.",
    "en: soup": "The soup needs a little more salt.",
    "ja: soup": "スープにはもう少し塩が必要です。",
}
QUERIES = (
    "When does the train to Berlin leave?",
    "Was fehlt der Suppe?",
    "赤い円はどこにありますか。",
)
_PICTURE_SIZE = (320, 224)


def cache_directory() -> Path:
    """Return where this package keeps what it can make again."""
    # Set to nothing means not set.
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jina-vllm-integrations"


def _checkpoint_directory() -> Path:
    # Another version of the code that makes it makes another checkpoint.
    digest = hashlib.sha256(Path(random_checkpoint.__file__).read_bytes()).hexdigest()[:12]
    return cache_directory() / f"random-checkpoint-{digest}"


def demo_checkpoint() -> Path:
    """Return a checkpoint that runs anywhere, made on first use. Its weights are random."""
    return random_checkpoint.write_random_checkpoint(_checkpoint_directory())


def demo_engine() -> InProcessEngine:
    """Return an engine of the demo checkpoint with settings for a small machine without a GPU."""
    # The engine comes first: it says so where vLLM is not installed, without which no checkpoint can be made.
    engine = InProcessEngine(
        _checkpoint_directory(),
        dtype="float32",
        enforce_eager=True,
        kv_cache_memory_bytes=256 * 2**20,
        use_tqdm_on_load=False,
    )
    demo_checkpoint()
    return engine


def draw_pictures(directory: Path) -> dict[str, Path]:
    """Draw four pictures as PNG files and return their paths by label."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for label, draw in _DRAWINGS.items():
        picture = Image.new("RGB", _PICTURE_SIZE, "white")
        draw(ImageDraw.Draw(picture))
        paths[label] = directory / f"{label.removeprefix('png: ').replace(' ', '-')}.png"
        picture.save(paths[label])
    return paths


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo computed.

    Attributes:
        labels: One for each item.
        vectors: One row an item, L2-normalised. *Shape:* ``(n_items, dimensions)``, float32.
        token_shapes: Rows and columns of each item's token vectors.
        query_vectors: *Shape:* ``(n_queries, dimensions)``, float32.
    """

    labels: list[str]
    vectors: FloatArray
    token_shapes: list[tuple[int, ...]]
    query_vectors: FloatArray


def run_demo(encoder: JinaEncoder, pictures: dict[str, Path]) -> DemoResult:
    """Embed the sentences and pictures as documents, and the queries."""
    items: dict[str, Item] = {**SENTENCES, **pictures}
    vectors, tokens = encoder.embed_both(list(items.values()), role="document")
    return DemoResult(
        labels=list(items),
        vectors=vectors,
        token_shapes=[item.vectors.shape for item in tokens],
        query_vectors=encoder.embed(QUERIES, role="query"),
    )


def format_demo(result: DemoResult) -> str:
    """Say what the demo computed: shapes, a similarity table, a ranked search."""
    return "\n".join([*_shapes(result), "", *_similarities(result), "", *_rankings(result)])


def _shapes(result: DemoResult) -> Iterator[str]:
    dense = result.vectors
    yield f"{len(dense)} documents -> dense vectors {dense.shape}, {dense.dtype}, and one vector a token:"
    for label, shape in zip(result.labels, result.token_shapes, strict=True):
        yield f"  {label:<16} {shape}"


def _similarities(result: DemoResult) -> Iterator[str]:
    yield "Cosine similarity, document by document:"
    yield " " * 19 + "".join(f"{column:>6}" for column in range(1, len(result.labels) + 1))
    for row, (label, cosines) in enumerate(zip(result.labels, result.vectors @ result.vectors.T, strict=True), start=1):
        yield f"{row:>2} {label:<16}" + "".join(f"{cosine:6.2f}" for cosine in cosines)


def _rankings(result: DemoResult) -> Iterator[str]:
    scores = result.query_vectors @ result.vectors.T
    for query, row in zip(QUERIES, scores, strict=True):
        yield f"Search: {query}"
        best = np.argsort(-row)[:3]
        yield from (f"  {row[index]:.3f}  {result.labels[index]}" for index in best)


def _draw_circle(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((110, 62, 210, 162), fill="red")


def _draw_square(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((20, 20, 120, 120), fill="blue")


def _draw_chart(draw: ImageDraw.ImageDraw) -> None:
    for column, height in enumerate((40, 90, 60, 150, 120)):
        left = 40 + 50 * column
        draw.rectangle((left, 200 - height, left + 30, 200), fill="seagreen")
    draw.line((30, 200, 300, 200), fill="black", width=2)


def _draw_invoice(draw: ImageDraw.ImageDraw) -> None:
    font = ImageFont.load_default(18)
    lines = {"Invoice 2026-118": "EUR", "": "", "Train to Berlin": "39.90", "Soup of the day": "8.50", "Total": "48.40"}
    for row, (name, amount) in enumerate(lines.items()):
        draw.text((24, 24 + 32 * row), name, fill="black", font=font)
        draw.text((296, 24 + 32 * row), amount, fill="black", font=font, anchor="ra")


_DRAWINGS: dict[str, Callable[[ImageDraw.ImageDraw], None]] = {
    "png: red circle": _draw_circle,
    "png: blue square": _draw_square,
    "png: bar chart": _draw_chart,
    "png: invoice": _draw_invoice,
}
