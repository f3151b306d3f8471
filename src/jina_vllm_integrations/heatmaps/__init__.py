"""Why a page was found: which of its cells each token of a query picked, and what they add to the score.

Late interaction is a sum over the query's tokens, so it can be taken apart::

    page = Path("invoice.png")
    explanation = explain(encoder, "Where is the total?", page)
    explanation.total              # float32 (rows, columns), what each cell adds to explanation.score
    explanation.similarities[3]    # float32 (rows, columns), what token 3 has in common with each cell
    explanation.overlay(page)      # the total over the page, a PIL image
    explanation.sheet(page)        # the same, with a tile for each token

`explain_tokens` does it for token vectors that are there already, from a store, say, also where they were pooled.
"""

from __future__ import annotations

from jina_vllm_integrations.heatmaps.explanations import Explanation, aexplain, explain, explain_tokens

__all__ = ["Explanation", "aexplain", "explain", "explain_tokens"]
