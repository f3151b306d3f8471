"""Texts and pages of known length, all different, for checkpoints whose tokens are bytes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

PREFIX = "Passage: "
# 32 x 24 cells of 28 pixels: the most that the processor allows.
PAGE_SIZE, PAGE_TOKENS = (896, 672), 768


def texts(count: int, tokens: int, seed: int) -> list[str]:
    """Return random texts of so many tokens with their prefix."""
    letters = np.random.default_rng(seed).integers(97, 123, size=(count, tokens - len(PREFIX)), dtype=np.uint8)
    return [row.tobytes().decode() for row in letters]


def pages(count: int, seed: int) -> list[Image.Image]:
    """Return random pictures, coarse enough to survive resizing."""
    rng = np.random.default_rng(seed)
    width, height = PAGE_SIZE
    cells = rng.integers(0, 256, size=(count, height // 8, width // 8, 3), dtype=np.uint8)
    return [Image.fromarray(page.repeat(8, axis=0).repeat(8, axis=1)) for page in cells]


def jpegs(count: int, seed: int) -> list[bytes]:
    """Return `pages` as the contents of JPEG files."""
    files = []
    for page in pages(count, seed):
        file = BytesIO()
        page.save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files
