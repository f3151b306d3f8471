"""An explanation in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.heatmaps.labels import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_vllm_integrations.heatmaps.explanations import Explanation


def summary(explanation: Explanation) -> str:
    """Return a line with the score and where it comes from."""
    image = f"score {explanation.score:.2f}: {explanation.total.sum():.2f} in the image"
    return f"{image}, {explanation.elsewhere:.2f} in the prompt around it" if explanation.elsewhere else image


def format_explanation(explanation: Explanation) -> str:
    """Return the summary, and a row for each token of the query with its winner."""
    return "\n".join([summary(explanation), "", *_rows(explanation)])


def _rows(explanation: Explanation) -> Iterator[str]:
    # Tokens come last: some scripts are twice as wide, and would move what follows.
    yield f"{'':<5}{'best':<7}{'row,column':<18}token (* of every query)"
    for token, label in enumerate(explanation.labels):
        mark = "*" if explanation.prompt_mask[token] else ""
        best = f"{explanation.alignment.similarities[token]:.2f}"
        yield f"{f'{token}{mark}':<5}{best:<7}{_winners(explanation, token):<18}{shown(label)}"


def _winners(explanation: Explanation, token: int) -> str:
    cells = np.argwhere(explanation.attribution[token]).tolist()
    if not cells:
        return "not in the image"
    row, column = cells[0]
    return f"{row},{column}" + (f" and {len(cells) - 1} more" if len(cells) > 1 else "")
