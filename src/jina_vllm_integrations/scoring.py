"""Late interaction: how well documents fit a query, by one vector a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.types import FloatArray

_MATRIX = 2


def score(query: FloatArray, documents: Sequence[FloatArray]) -> FloatArray:
    """Score documents by MaxSim: each token of the query counts as much as the document's token that fits it best.

    That is the sum over the query's tokens of the greatest inner product with one of the document's
    tokens, as in ColBERT (Khattab and Zaharia 2020, https://arxiv.org/abs/2004.12832, equation 3). Each document
    is scored by itself, without padding, so its score does not depend on the others.

    Args:
        query: *Shape:* ``(n_query_tokens, dim)``, float32, as `JinaEncoder.embed_tokens` returns them.
        documents: Each of *shape* ``(n_tokens, dim)``, likewise.

    Returns:
        One score a document, in their order. *Shape:* ``(len(documents),)``, float32.

    Raises:
        InputError: The query or a document has no token, or they are of different widths. ``index`` is the
            document's position, ``None`` for the query.

    Example:
        >>> (query,) = encoder.embed_tokens(["Where is the invoice?"], role="query")
        >>> pages = encoder.embed_tokens([Path("page-1.png"), Path("page-2.png")], role="document")
        >>> scores = score(query.vectors, [page.vectors for page in pages])
    """
    if query.ndim != _MATRIX or not query.size:
        raise InputError(
            "a query's token vectors must have the shape (n_query_tokens, dim) and at least one token, "
            f"got {query.shape}. Pass the vectors that embed_tokens returned for it."
        )
    scores = np.empty(len(documents), dtype=np.float32)
    for index, document in enumerate(documents):
        if document.ndim != _MATRIX or document.shape[1] != query.shape[1] or not document.size:
            raise InputError(
                f"a document's token vectors must have the query's shape (n_tokens, {query.shape[1]}) and at least "
                f"one token, got {document.shape}. Embed it with the query's checkpoint, or leave it out.",
                index=index,
            )
        scores[index] = (query @ document.T).max(axis=1).sum()
    return scores
