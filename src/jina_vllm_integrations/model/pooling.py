"""From the raw states of a prompt's tokens to the vectors that leave the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.model import spans
from jina_vllm_integrations.types import Embedding, FloatArray, Request, TokenVectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from jina_vllm_integrations.model.checkpoints import SpecialTokens
    from jina_vllm_integrations.model.projectors import Projector


def normalize(vectors: FloatArray) -> FloatArray:
    """Scale to unit length along the last axis. A zero vector stays zero.

    *Shape:* any, unchanged; float32.
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, np.float32(1e-12))
    return unit


def dense_vector(states: FloatArray, span: slice, dimensions: int | None = None) -> FloatArray:
    """Average raw states over a span, cut to a Matryoshka size, scale to unit length, in this order.

    The states must be raw. Averaging vectors that were each normalised first gives another
    vector, because a token's length is its weight in the mean.

    Args:
        states: After the model's last norm, not normalised. *Shape:* ``(n_tokens, hidden_size)``.
        span: The positions to average.
        dimensions: How many leading components to keep; ``None`` keeps all.

    Returns:
        *Shape:* ``(dimensions or hidden_size,)``, float32.
    """
    # NumPy adds rows one after the other; in float32 that would cost a 32k-token mean two digits.
    mean = states[span].mean(axis=0, dtype=np.float64).astype(np.float32)
    return normalize(mean[:dimensions])


def token_vectors(states: FloatArray, projector: Projector) -> FloatArray:
    """Project raw states with the multi-vector head and scale each to unit length.

    Args:
        states: *Shape:* ``(n_tokens, hidden_size)``.
        projector: The task's head.

    Returns:
        *Shape:* ``(n_tokens, token_dimensions)``, float32.
    """
    return normalize(projector.project(states))


def pool(
    states: FloatArray,
    token_ids: npt.NDArray[np.int64],
    special: SpecialTokens,
    request: Request,
    *,
    projector: Projector | None,
    grid: tuple[int, int] | None,
) -> Embedding:
    """Turn one prompt's raw states into what was asked for.

    Args:
        states: *Shape:* ``(n_tokens, hidden_size)``, float32, raw.
        token_ids: *Shape:* ``(n_tokens,)``.
        special: The checkpoint's token ids.
        request: What was asked for.
        projector: The head of the request's task; ``None`` will do for a dense vector.
        grid: Rows and columns of the image's cells; ``None`` for a text.
    """
    dense = tokens = None
    if request.output != "tokens":
        dense = dense_vector(states, spans.content_span(token_ids, special), request.dimensions)
    if request.output != "dense":
        assert projector is not None
        tokens = with_tokens(token_vectors(states, projector), token_ids, special, grid)
    return Embedding(dense=dense, tokens=tokens)


def with_tokens(
    vectors: FloatArray, token_ids: npt.NDArray[np.int64], special: SpecialTokens, grid: tuple[int, int] | None
) -> TokenVectors:
    """Say of token vectors what each row is."""
    return TokenVectors(
        vectors=vectors, token_ids=token_ids, image_mask=spans.image_mask(token_ids, special), grid=grid
    )
