"""The random vectors that the late-interaction benchmarks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jina_vllm_integrations.types import FloatArray

DIM = 128


def unit_rows(rng: np.random.Generator, count: int) -> FloatArray:
    """Return random rows of unit length. *Shape:* ``(count, 128)``, float32."""
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
