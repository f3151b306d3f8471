"""MaxSim of queries and documents, on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from jina_vllm_integrations.errors import InputError, ItemTypeError, naming
from jina_vllm_integrations.foundation.cores import available_cores
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.scoring.packing import PackedVectors
from jina_vllm_integrations.scoring.places import Places
from jina_vllm_integrations.scoring.quantization import dequantize
from jina_vllm_integrations.scoring.rows import Tokens, check_width, document_rows, not_finite, query_rows
from jina_vllm_integrations.types import Alignment, FloatArray, Hit, TokenVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

Normalize = Literal["sum", "mean"]
"""What a score is: ColBERT's sum over the query's tokens, or their mean, which is comparable across queries."""

# Fewer multiplications, some milliseconds of one core, are not worth another thread.
_WORK_OF_A_THREAD = 2**24


@runtime_checkable
class SearchableVectors(Protocol):
    """Documents that are kept where they are searched, such as `CudaVectors`."""

    def __len__(self) -> int: ...

    def best_similarities(self, queries: Sequence[FloatArray]) -> list[FloatArray]:
        """Return for each query the greatest inner product of each document with each of its tokens.

        *Shape:* ``(n_documents, n_query_tokens)`` each, float32.
        """


Documents: TypeAlias = "Iterable[Tokens] | PackedVectors | SearchableVectors"
"""What is scored: token vectors in a list, or packed in this machine's or a GPU's memory."""


def score(query: Tokens, documents: Documents, *, normalize: Normalize = "sum") -> FloatArray:
    """Score documents by MaxSim.

    Args:
        query: *Shape:* ``(n_query_tokens, dim)``, as `JinaEncoder.embed_tokens` returns it.
        documents: Of *shape* ``(n_tokens, dim)`` each, all float32, float16 or int8. Products are float32.
        normalize: ``"sum"``, or ``"mean"`` over the query's tokens.

    Returns:
        One score a document, in their order. *Shape:* ``(n_documents,)``, float32.

    Raises:
        InputError: The query or a document has no token, is not finite, or is of another width or dtype. ``index`` is
            the document's position, ``None`` for the query.
        OptionError: There is no such normalisation.
    """
    scores: FloatArray = score_many([query], documents, normalize=normalize)[0]
    return scores


def score_many(queries: Sequence[Tokens], documents: Documents, *, normalize: Normalize = "sum") -> FloatArray:
    """Score documents by MaxSim with each of many queries, reading the documents once.

    Arguments and errors are those of `score`.

    Returns:
        *Shape:* ``(n_queries, n_documents)``, float32.
    """
    check_choice("normalize", normalize, Normalize)
    documents = _sized(documents)
    floats = [query_rows(query) for query in queries]
    scores = np.empty((len(floats), len(documents)), dtype=np.float32)
    if not scores.size:
        return scores
    for row, best in zip(scores, _best_similarities(floats, documents), strict=True):
        best.sum(axis=1, out=row)
    if not np.isfinite(scores).all():
        raise not_finite(int(np.flatnonzero(~np.isfinite(scores).all(axis=0))[0]))
    if normalize == "mean":
        scores /= np.array([[len(query)] for query in floats], dtype=np.float32)
    return scores


def warm_up(dim: int) -> None:
    """Pay now what the first score of a process would: loading a compiler, and what it compiles or has on the disk.

    Args:
        dim: Width of the token vectors, as floats.
    """
    for dtype in (np.float16, np.float32):
        score(np.zeros((1, dim), dtype=np.float32), [np.zeros((1, dim), dtype=dtype)])


def top_k(query: Tokens, documents: Documents, k: int, *, normalize: Normalize = "sum") -> list[Hit]:
    """Return the documents with the highest scores, the best first; of equals, the earlier first.

    Arguments and errors are those of `score`.

    Args:
        query: What is searched for.
        documents: What is searched.
        k: How many at most.
        normalize: As for `score`.

    Raises:
        OptionError: ``k`` is not a whole number from 1.
    """
    check_count("k", k)
    scores = score(query, documents, normalize=normalize)
    return [Hit(index=index, score=float(scores[index])) for index in ranking(scores)[:k]]


def align(query: Tokens, document: Tokens) -> Alignment:
    """Find the row of a document that fits each token of a query best.

    Errors are those of `score`.

    Returns:
        The winners, and their similarities, whose sum is the score.
    """
    floats = query_rows(query)
    with naming(None):
        (rows,) = document_rows([document], dim=floats.shape[1])
    similarities = dequantize(*rows) @ floats.T
    if not np.isfinite(similarities).all():
        raise not_finite(None)
    winners = similarities.argmax(axis=0)
    return Alignment(rows=winners, similarities=similarities[winners, np.arange(len(floats))])


def _sized(documents: Documents) -> list[Tokens] | PackedVectors | SearchableVectors:
    if isinstance(documents, PackedVectors | SearchableVectors):
        return documents
    if isinstance(documents, TokenVectors) or not isinstance(documents, Iterable):
        raise ItemTypeError(
            f"documents must be an iterable of token vectors, or packed, got one {type(documents).__name__}. "
            "For one document write [document]."
        )
    return list(documents)


def ranking(scores: FloatArray) -> list[int]:
    """Return the positions of scores, the best first; of equals, the earlier first."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order


def _best_similarities(
    queries: Sequence[FloatArray], documents: list[Tokens] | PackedVectors | SearchableVectors
) -> list[FloatArray]:
    """*Shape:* ``(n_documents, n_query_tokens)`` each."""
    dim = queries[0].shape[1]
    if any(query.shape[1] != dim for query in queries):
        widths = sorted({query.shape[1] for query in queries})
        raise InputError(f"all queries must be of one width, got {widths}. Embed them with one checkpoint.")
    if isinstance(documents, SearchableVectors):
        return documents.best_similarities(queries)
    if isinstance(documents, PackedVectors):
        check_width(queries[0], documents.vectors)
        return _on_all_cores(queries, Places.of_packed(documents))
    rows = list(document_rows(documents, dim=dim))  # keeps the arrays alive that are searched by address
    return _on_all_cores(queries, Places.of_list(rows))


@cache
def _threads() -> ThreadPoolExecutor:
    """Return this process's threads for scoring: to start some for each search takes as long as a small one."""
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="maxsim")


os.register_at_fork(after_in_child=_threads.cache_clear)  # which has none of its parent's


def _on_all_cores(queries: Sequence[FloatArray], places: Places) -> list[FloatArray]:
    """Search shares of the documents, of about equally many rows, in threads of their own where that pays."""
    from jina_vllm_integrations.scoring.kernel import TOKENS_AT_ONCE, best_similarities  # brings a compiler

    starts = np.cumsum([0] + [-(-len(query) // TOKENS_AT_ONCE) * TOKENS_AT_ONCE for query in queries])
    columns = np.zeros((starts[-1], queries[0].shape[1]), dtype=np.float32)
    for start, query in zip(starts, queries, strict=False):
        columns[start : start + len(query)] = query
    best = np.empty((len(places.lengths), len(columns)), dtype=np.float32)

    n_rows = places.lengths.cumsum()
    n_shares = max(1, n_rows[-1] * columns.size // _WORK_OF_A_THREAD)
    if n_shares > 1:  # asked for only then: it takes as long as a small search
        n_shares = min(n_shares, available_cores())
    ends = np.searchsorted(n_rows, np.linspace(0, n_rows[-1], n_shares + 1)[1:-1]).tolist()
    shares = [slice(*share) for share in pairwise([0, *ends, len(best)])]
    if n_shares == 1:
        best_similarities(places, columns, best)
    else:
        list(_threads().map(lambda share: best_similarities(places[share], columns, best[share]), shares))
    return [best[:, start : start + len(query)] for start, query in zip(starts, queries, strict=False)]
