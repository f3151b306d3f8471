"""What the model is trained to do: find each query's document among all of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrast(scores: Tensor, answers: Tensor, related: Tensor) -> Tensor:
    """Return the cross entropy of finding documents by queries and queries by documents.

    What is related without being the answer is neither right nor wrong.

    Args:
        scores: *Shape:* ``(n_queries, n_documents)``.
        answers: The document of each query. *Shape:* ``(n_queries,)``.
        related: *Shape:* ``(n_queries, n_documents)``, bool.
    """
    own = answers[:, None] == torch.arange(scores.shape[1], device=scores.device)
    forward = functional.cross_entropy(scores.masked_fill(related & ~own, -torch.inf), answers)
    # Row q: all queries, scored with the document of q.
    columns, also = scores.T.index_select(0, answers), related.T.index_select(0, answers)
    itself = torch.eye(len(columns), dtype=torch.bool, device=scores.device)
    backward = functional.cross_entropy(
        columns.masked_fill(also & ~itself, -torch.inf), torch.arange(len(columns), device=scores.device)
    )
    return (forward + backward) / 2


def dense_scores(queries: Tensor, documents: Tensor, size: int) -> Tensor:
    """Return the cosines of vectors cut to a size. *Shape:* ``(n_queries, n_documents)``."""
    return functional.normalize(queries[:, :size], dim=-1) @ functional.normalize(documents[:, :size], dim=-1).T


def late_scores(queries: Tensor, query_lengths: Tensor, documents: Tensor, document_lengths: Tensor | None) -> Tensor:
    """Return the mean over a query's tokens of the best cosine among a document's.

    Args:
        queries: *Shape:* ``(n_queries, n_query_tokens, size)``, unit length.
        query_lengths: *Shape:* ``(n_queries,)``.
        documents: *Shape:* ``(n_documents, n_document_tokens, size)``, unit length.
        document_lengths: *Shape:* ``(n_documents,)``; ``None`` where no document is padded.
    """
    n_queries, n_query_tokens, size = queries.shape
    n_documents, n_document_tokens, _ = documents.shape
    cosines = queries.reshape(-1, size) @ documents.reshape(-1, size).T
    cosines = cosines.view(n_queries * n_query_tokens, n_documents, n_document_tokens)
    if document_lengths is not None:
        beyond = torch.arange(n_document_tokens, device=queries.device) >= document_lengths[:, None]
        cosines = cosines.masked_fill(beyond, -2)
    best = cosines.max(dim=-1).values.float().view(n_queries, n_query_tokens, n_documents)
    counted = torch.arange(n_query_tokens, device=queries.device) < query_lengths[:, None]
    return (best * counted[..., None]).sum(dim=1) / query_lengths[:, None]
