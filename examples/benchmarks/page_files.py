"""Pages of lines of words and a picture, as JPEG files: what a scanner writes, all different."""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

A4 = (1240, 1754)
"""Pixels at 150 dpi; the model sees 23 x 32 cells of 28 pixels, 736 tokens."""
FOLDER = Path(tempfile.gettempdir()) / "jina-vllm-pages"


def written(count: int, folder: Path = FOLDER) -> list[Path]:
    """Write so many pages unless they are there, on all cores, and return their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    if missing := [number for number, path in enumerate(paths) if not path.exists()]:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            list(pool.map(_write, [paths[number] for number in missing], missing, chunksize=16))
    return paths


def _write(path: Path, number: int) -> None:
    _page(np.random.default_rng(number)).save(path, quality=88)


def _page(rng: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", A4, "white")
    pen = ImageDraw.Draw(page)
    for top in range(60, A4[1] - 60, 22):
        left = 80
        while left < A4[0] - 100:
            width = int(rng.integers(10, 80))
            pen.rectangle([left, top, left + width, top + 12], fill=tuple(map(int, rng.integers(0, 120, 3))))
            left += width + 8
    figure = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).resize((400, 400))
    page.paste(figure, (int(rng.integers(0, 800)), int(rng.integers(0, 1200))))
    return page
