"""Token vectors in fewer bytes: float16, or int8 with a scale a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from jina_vllm_integrations.types import FloatArray, VectorArray, VectorDtype

_INT8_MAX = np.float32(127)


def quantize(vectors: FloatArray, dtype: VectorDtype) -> tuple[VectorArray, FloatArray | None]:
    """Convert rows to a dtype.

    int8 is symmetric, by the row: its largest magnitude becomes 127. The error is at most half a scale a component.

    Args:
        vectors: *Shape:* ``(n_rows, dim)``, float32.
        dtype: What to convert to.

    Returns:
        The rows, *shape* ``(n_rows, dim)``; and the scales that int8 rows are multiplied by to get the vectors
        back, *shape* ``(n_rows,)``, float32, or ``None``.
    """
    if dtype != "int8":
        return vectors.astype(dtype), None
    scales = np.abs(vectors).max(axis=1, initial=0) / _INT8_MAX
    # A row of zeros stays one, whatever its scale.
    steps = np.where(scales > 0, scales, np.float32(1))
    return np.rint(vectors / steps[:, None]).astype(np.int8), scales


def dequantize(vectors: VectorArray, scales: FloatArray | None) -> FloatArray:
    """Return rows as float32; the array itself where it is float32 already.

    *Shape:* ``(n_rows, dim)``.
    """
    floats = cast("FloatArray", vectors.astype(np.float32, copy=False))
    return floats if scales is None else floats * scales[:, None]
