"""The rows of one item, as an array or as `TokenVectors`, checked before they are scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.scoring.quantization import dequantize
from jina_vllm_integrations.types import FloatArray, TokenVectors, VectorArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MATRIX = 2
_FLOATS = (np.float32, np.float16)

Tokens: TypeAlias = TokenVectors | VectorArray
"""One item's token vectors: the record, or only its rows."""


class Rows(NamedTuple):
    """A document's rows.

    Attributes:
        vectors: *Shape:* ``(n_rows, dim)``, float32, float16 or int8.
        scales: Of int8 rows. *Shape:* ``(n_rows,)``, float32.
    """

    vectors: VectorArray
    scales: FloatArray | None


def query_rows(query: Tokens) -> FloatArray:
    """Return a query's rows in float32.

    Raises:
        InputError: It has no row, is no matrix of floats, or holds what is not finite.
    """
    vectors, scales = _rows(query)
    if vectors.ndim != _MATRIX or not vectors.size:
        raise InputError(
            "a query's token vectors must have the shape (n_query_tokens, dim) and at least one token, "
            f"got {vectors.shape}. Pass the vectors that embed_tokens returned for it."
        )
    if scales is None and vectors.dtype not in _FLOATS:
        raise InputError(f"a query's token vectors must be float32 or float16, got {vectors.dtype}. Convert them.")
    floats = dequantize(vectors, scales)
    if not np.isfinite(floats).all():
        raise InputError("a query's token vectors must be finite, got NaN or infinity. Embed it again.")
    return floats


def document_rows(documents: Iterable[Tokens], *, dim: int | None = None) -> Iterator[Rows]:
    """Yield the rows of documents, which must be of one width and one dtype. Values are not looked at.

    Args:
        documents: Their token vectors.
        dim: The query's width; ``None`` for that of the first document.

    Raises:
        InputError: A document has no row, is no matrix of the width, or is of another dtype than the first; ``index``
            names it.
    """
    dtype = None
    for index, document in enumerate(documents):
        rows = _rows(document)
        vectors = rows.vectors
        if vectors.ndim != _MATRIX or not vectors.size or (dim is not None and vectors.shape[1] != dim):
            width = "dim" if dim is None else dim
            raise InputError(
                f"a document's token vectors must have the query's shape (n_tokens, {width}) and at least "
                f"one token, got {vectors.shape}. Embed it with the query's checkpoint, or leave it out.",
                index=index,
            )
        if vectors.dtype not in _FLOATS and (vectors.dtype != np.int8 or rows.scales is None):
            raise InputError(
                "a document's token vectors must be float32, float16, or TokenVectors of int8 with scales, "
                f"got {vectors.dtype}. Convert them.",
                index=index,
            )
        if rows.scales is not None and (vectors.dtype != np.int8 or rows.scales.shape != vectors.shape[:1]):
            raise InputError(
                f"int8 rows, and no others, must have one scale each, got {rows.scales.shape} scales of "
                f"{vectors.shape} {vectors.dtype} rows. Pass the record as it was returned.",
                index=index,
            )
        if dtype not in (None, vectors.dtype):
            raise InputError(
                f"all documents must be of one dtype, the first is {dtype} and this one {vectors.dtype}. "
                "Convert them, or keep them in one TokenStore.",
                index=index,
            )
        dim, dtype = vectors.shape[1], vectors.dtype
        yield rows


def check_width(query: FloatArray, vectors: Any) -> None:
    """Raise `InputError` unless a query is as wide as packed documents.

    Args:
        query: *Shape:* ``(n_query_tokens, dim)``.
        vectors: The documents' rows, an array or a tensor. *Shape:* ``(n_rows, dim)``.
    """
    if len(vectors) and query.shape[1] != vectors.shape[1]:
        raise InputError(
            f"a query must be as wide as the packed documents, {vectors.shape[1]}, got {query.shape[1]}. "
            "Embed both with one checkpoint."
        )


def not_finite(index: int | None) -> InputError:
    """Return the error of a document whose vectors are not finite."""
    return InputError(
        "a document's token vectors must be finite, and their products, too; got NaN, infinity or numbers too large. "
        "Embed it again, or leave it out.",
        index=index,
    )


def _rows(tokens: Tokens) -> Rows:
    if isinstance(tokens, TokenVectors):
        scales = None if tokens.scales is None else np.ascontiguousarray(tokens.scales, dtype=np.float32)
        return Rows(np.ascontiguousarray(tokens.vectors), scales)
    return Rows(np.ascontiguousarray(tokens), None)
