"""What was found, in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.heatmaps.labels import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_vllm_integrations.heatmaps.findings import Findings


def summary(findings: Findings) -> str:
    """Return a line with the score and where it comes from."""
    image = f"score {findings.score:.2f}: {findings.total.sum():.2f} in the image"
    return f"{image}, {findings.elsewhere:.2f} in the prompt around it" if findings.elsewhere else image


def format_explanation(findings: Findings) -> str:
    """Return the summary, and a row for each token of the query with its winner."""
    return "\n".join([summary(findings), "", *_rows(findings)])


def _rows(findings: Findings) -> Iterator[str]:
    # Tokens come last: some scripts are twice as wide, and would move what follows.
    yield f"{'':<5}{'best':<7}{'row,column':<18}token (* of every query)"
    for token, label in enumerate(findings.labels):
        mark = "*" if findings.prompt_mask[token] else ""
        best = f"{findings.alignment.similarities[token]:.2f}"
        yield f"{f'{token}{mark}':<5}{best:<7}{_winners(findings, token):<18}{shown(label)}"


def _winners(findings: Findings, token: int) -> str:
    cells = np.argwhere(findings.attribution[token]).tolist()
    if not cells:
        return "not in the image"
    row, column = cells[0]
    return f"{row},{column}" + (f" and {len(cells) - 1} more" if len(cells) > 1 else "")
