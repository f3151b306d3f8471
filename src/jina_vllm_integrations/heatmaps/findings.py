"""What each token of a query found in a page's image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from jina_vllm_integrations.types import Alignment, FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What each token of a query found in a page's image, as numbers.

    Similarities say where a token might have looked. Their sum over the tokens is no part of a score, because it
    counts the cells that lost. The attribution is what the score is made of: each token has one winner, and the
    winner's similarity is laid on it alone, so that ``total.sum() + elsewhere == score``, but for rounding.

    Attributes:
        similarities: The inner product of each token of the query with each cell.
            *Shape:* ``(n_query_tokens, rows, columns)``, float32.
        attribution: The greatest similarity of each token, on the cell that has it, and zero on the others. Where
            tokens were pooled, a row wins, and its tokens share the similarity evenly.
            *Shape:* ``(n_query_tokens, rows, columns)``, float32.
        elsewhere: What the page's tokens outside the image won, those of the prompt around it.
        alignment: The winning row of each token of the query, and its similarity.
        labels: The characters of each token of the query, or the row and column of a cell.
        prompt_mask: Which tokens every query has: a text's prefix, or the prompt around an image.
            *Shape:* ``(n_query_tokens,)``, bool.
    """

    similarities: FloatArray
    attribution: FloatArray
    elsewhere: float
    alignment: Alignment
    labels: tuple[str, ...]
    prompt_mask: npt.NDArray[np.bool_]

    @property
    def score(self) -> float:
        """MaxSim of the query and the page."""
        return float(self.alignment.similarities.sum())

    @property
    def total(self) -> FloatArray:
        """What each cell adds to the score. *Shape:* ``(rows, columns)``, float32."""
        total: FloatArray = self.attribution.sum(axis=0)
        return total
