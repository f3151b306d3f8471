"""Maps of an image's cells, laid over the image in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

if TYPE_CHECKING:
    import numpy.typing as npt

    from jina_vllm_integrations.heatmaps.findings import Findings
    from jina_vllm_integrations.types import FloatArray

# From pale yellow to crimson: lightness falls in even steps (OKLab, 0.92 to 0.46), so that more looks like more, also
# to the colour-blind and in grey.
_RAMP = np.array([(249, 231, 123), (251, 174, 0), (243, 112, 0), (212, 56, 27), (160, 21, 66)])
_STEPS = np.linspace(0, 1, 256)
# The least is clear, and the page can be read below the most.
_MOST_OPAQUE = 0.7
_FRAME = (30, 100, 240)  # a hue that the ramp does not have, seen on white and on black
_LINES_PER_CELL = 12


def draw_total(page: Image.Image, findings: Findings) -> Image.Image:
    """Return a page in the colours of what each cell adds to the score, from nothing to the most.

    Cells are filled evenly, because a cell wins as a whole.
    """
    total = findings.total
    most = total.max()
    heat = np.maximum(total, 0) / most if most > 0 else np.zeros_like(total)
    return _lay_over(page, heat, Image.Resampling.NEAREST)


def draw_token(page: Image.Image, findings: Findings, token: int) -> Image.Image:
    """Return a page in the colours of a token's similarities, with a frame around the cells that won.

    From the median to the winner, so that half of the page stays clear. Where the winner is no cell, none has the
    strongest colour. Colours run from cell to cell, because what the model sees does not end at their borders.
    """
    similarities, most = findings.similarities[token], findings.alignment.similarities[token]
    median = np.median(similarities)
    heat = np.maximum(similarities - median, 0) / (most - median) if most > median else np.zeros_like(similarities)
    return _framed(_lay_over(page, heat, Image.Resampling.BICUBIC), findings.attribution[token] != 0)


def _lay_over(page: Image.Image, heat: FloatArray, resampling: Image.Resampling) -> Image.Image:
    """Return a page of mode RGB under the colours of a map from 0 to 1. *Shape:* ``(rows, columns)``."""
    levels = Image.fromarray(np.rint(heat * 255).astype(np.uint8)).resize(page.size, resampling)
    channels = [np.interp(_STEPS, np.linspace(0, 1, len(_RAMP)), channel) for channel in _RAMP.T]
    colours = Image.merge("RGB", [levels.point(np.rint(channel).tolist()) for channel in channels])
    opacity = levels.point(np.rint(255 * _MOST_OPAQUE * _STEPS).tolist())
    return Image.composite(colours, page, opacity)


def _framed(page: Image.Image, cells: npt.NDArray[np.bool_]) -> Image.Image:
    """Return a page with a frame around some cells; neighbours share one. *Shape:* ``(rows, columns)``."""
    line = max(2, round(page.height / cells.shape[0] / _LINES_PER_CELL))
    inside = Image.fromarray(255 * cells.astype(np.uint8)).resize(page.size, Image.Resampling.NEAREST)
    widened = ImageOps.expand(inside, line)  # for the lines along the page's edge
    further = widened.filter(ImageFilter.MinFilter(2 * line + 1)).crop(
        (line, line, page.width + line, page.height + line)
    )
    return Image.composite(Image.new("RGB", page.size, _FRAME), page, ImageChops.subtract(inside, further))
