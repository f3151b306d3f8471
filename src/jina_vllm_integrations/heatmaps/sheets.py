"""A contact sheet: the page under what was found on it in all, and a tile for each token of the query."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from jina_vllm_integrations.heatmaps.labels import shown
from jina_vllm_integrations.heatmaps.lettering import Lettering
from jina_vllm_integrations.heatmaps.overlays import draw_token, draw_total
from jina_vllm_integrations.heatmaps.tables import summary

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from jina_vllm_integrations.heatmaps.findings import Findings

# In tiles. The total takes a square of them in the upper left corner.
_COLUMNS = 7
_TOTAL = 3
_MOST_TILES = 60
# In pixels.
_TILE = (150, 200)
_GAP = 14
_LINE = 22

_INK = (30, 30, 30)
_FAINT = (130, 130, 130)


def draw_sheet(page: Image.Image, findings: Findings, font: str | os.PathLike[str] | None) -> Image.Image:
    """Draw a page's sheet. See `Explanation.sheet`.

    Args:
        page: Mode RGB.
        findings: What is shown.
        font: A font file.

    Raises:
        OptionError: The font cannot be read.
    """
    lettering = Lettering(font)
    tokens = _tokens(findings)
    places = list(islice(_places(), len(tokens)))
    tile = _fitted(page, _TILE)
    step_x, step_y = _TILE[0] + _GAP, tile[1] + _LINE + _GAP
    columns = max(column for _, column in places) + 1
    rows = max(_TOTAL, *(row + 1 for row, _ in places))
    sheet = Image.new("RGB", (_GAP + columns * step_x, _GAP + rows * step_y), "white")
    draw = ImageDraw.Draw(sheet)

    large = page.resize(_fitted(page, (_TOTAL * step_x - _GAP, _TOTAL * step_y - _GAP - 2 * _LINE)))
    sheet.paste(draw_total(large, findings), (_GAP, _GAP))
    lettering.write(draw, (_GAP, _GAP + large.height), summary(findings), width=_TOTAL * step_x, ink=_INK)
    if len(tokens) < len(findings.labels):
        left_out = f"tiles for the best {len(tokens)} of {len(findings.labels)} tokens"
        lettering.write(draw, (_GAP, _GAP + large.height + _LINE), left_out, width=_TOTAL * step_x, ink=_FAINT)

    small = page.resize(tile)
    for token, (row, column) in zip(tokens, places, strict=True):
        x, y = _GAP + column * step_x, _GAP + row * step_y
        sheet.paste(draw_token(small, findings, token), (x, y))
        name = f"{token} {shown(findings.labels[token])}"
        similarity = f"{findings.alignment.similarities[token]:.2f}"
        ink = _FAINT if findings.prompt_mask[token] else _INK
        lettering.write(draw, (x, y + tile[1]), name, similarity, width=_TILE[0], ink=ink)
    return sheet


def _tokens(findings: Findings) -> list[int]:
    """Return the tokens that get a tile, in order: all, or the ones that add most."""
    best = np.argsort(-findings.alignment.similarities, kind="stable")[:_MOST_TILES]
    tokens: list[int] = np.sort(best).tolist()
    return tokens


def _places() -> Iterator[tuple[int, int]]:
    """Yield the row and column of one tile after the other, around the total."""
    for row in count():
        for column in range(0 if row >= _TOTAL else _TOTAL, _COLUMNS):
            yield row, column


def _fitted(page: Image.Image, box: tuple[int, int]) -> tuple[int, int]:
    """Return the largest width and height in a box that have the page's proportions."""
    scale = min(box[0] / page.width, box[1] / page.height)
    return max(1, round(page.width * scale)), max(1, round(page.height * scale))
