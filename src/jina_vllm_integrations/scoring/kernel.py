"""The inner loops of MaxSim, compiled by Numba on first use, which takes a second.

A matrix product would first write all products to memory and copy the documents into its own layout. Here every
document is read once, from whatever dtype it is kept in, and only the maxima are written; on two cores that
is twice as fast as NumPy (``examples/benchmarks/results/late_interaction.json``). Each product is computed by itself
in the same order of additions, so a score has the same bits in any batch and on any number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

# Queries are padded to a multiple of this: so many products of two rows fit the processor's registers.
TOKENS_AT_ONCE = 4

# Additions may be reordered, which is what makes them fast; NaN and infinity stay what they are.
_compiled = njit(fastmath={"reassoc", "contract", "nsz"}, nogil=True, boundscheck=False)
_inlined = njit(fastmath={"reassoc", "contract", "nsz"}, nogil=True, boundscheck=False, inline="always")

# How float16 becomes float32: sign, exponent and fraction move to their places in 32 bits, an exponent of ones only
# (infinity, NaN) stays one, and a product moves the exponent's bias from 15 to 127.
_FRACTION_SHIFT = 13
_SIGN_AND_MAGNITUDE = np.uint32(0x8FFFE000).view(np.int32)
_HALF_EXPONENT = np.int32(0x7C00)
_EXPONENT = np.int32(0x7F800000)
_BIAS = np.float32(2.0**112)


@_inlined
def _load_float32(vectors: Any, _scales: Any, row: int, floats: Any, _bits: Any) -> None:
    for k in range(len(floats)):
        floats[k] = vectors[row, k]


@_inlined
def _load_float16(vectors: Any, _scales: Any, row: int, floats: Any, bits: Any) -> None:
    for k in range(len(floats)):
        half = np.int32(vectors[row, k])
        single = (half << _FRACTION_SHIFT) & _SIGN_AND_MAGNITUDE
        bits[k] = single | _EXPONENT if half & _HALF_EXPONENT == _HALF_EXPONENT else single
    for k in range(len(floats)):
        floats[k] *= _BIAS


@_inlined
def _load_int8(vectors: Any, scales: Any, row: int, floats: Any, _bits: Any) -> None:
    for k in range(len(floats)):
        floats[k] = vectors[row, k] * scales[row]


def _kernel(load: Callable[..., None]) -> Callable[..., None]:
    @_compiled
    def best_similarities(vectors: Any, scales: Any, offsets: Any, query: Any, best: Any) -> None:
        dim = vectors.shape[1]
        bits = np.empty((2, dim), dtype=np.int32)
        floats = bits.view(np.float32)
        a, b, bits_of_a, bits_of_b = floats[0], floats[1], bits[0], bits[1]
        for document in range(len(best)):
            maxima = best[document]
            maxima[:] = -np.inf
            check = np.float32(0)
            end = offsets[document + 1]
            for row in range(offsets[document], end, 2):
                load(vectors, scales, row, a, bits_of_a)
                load(vectors, scales, min(row + 1, end - 1), b, bits_of_b)  # the last row may count twice
                for token in range(0, len(query), 4):
                    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
                    for k in range(dim):
                        q0, q1, q2, q3 = query[token, k], query[token + 1, k], query[token + 2, k], query[token + 3, k]
                        a0 += a[k] * q0
                        a1 += a[k] * q1
                        a2 += a[k] * q2
                        a3 += a[k] * q3
                        b0 += b[k] * q0
                        b1 += b[k] * q1
                        b2 += b[k] * q2
                        b3 += b[k] * q3
                    maxima[token] = max(maxima[token], max(a0, b0))  # noqa: PLW3301 - Numba compiles max of two best
                    maxima[token + 1] = max(maxima[token + 1], max(a1, b1))  # noqa: PLW3301
                    maxima[token + 2] = max(maxima[token + 2], max(a2, b2))  # noqa: PLW3301
                    maxima[token + 3] = max(maxima[token + 3], max(a3, b3))  # noqa: PLW3301
                    # A maximum forgets NaN, a sum does not.
                    check += ((a0 + a1) + (a2 + a3)) + ((b0 + b1) + (b2 + b3))
            if not np.isfinite(check):
                maxima[:] = np.nan

    return best_similarities  # type: ignore[no-any-return]


# Numba knows no float16 on CPUs, and gets its bits.
_KERNELS = {
    np.dtype(np.float32): _kernel(_load_float32),
    np.dtype(np.int16): _kernel(_load_float16),
    np.dtype(np.int8): _kernel(_load_int8),
}
_NO_SCALES = np.empty(0, dtype=np.float32)


def best_similarities(vectors: Any, scales: Any, offsets: Any, query: Any, best: Any) -> None:
    """Write the greatest inner product of each document with each token of a query.

    Args:
        vectors: *Shape:* ``(n_rows, dim)``, float32, float16 or int8, C-contiguous.
        scales: Of int8 rows. *Shape:* ``(n_rows,)``, float32; ``None`` for floats.
        offsets: Document i has the rows from ``offsets[i]`` to ``offsets[i + 1]``, at least one. *Shape:*
            ``(n_documents + 1,)``, int64.
        query: *Shape:* ``(n_tokens, dim)``, float32, C-contiguous; ``n_tokens`` a multiple of `TOKENS_AT_ONCE`.
        best: Where to. NaN for a document that is not finite. *Shape:* ``(n_documents, n_tokens)``, float32.
    """
    if vectors.dtype == np.float16:
        vectors = vectors.view(np.int16)
    _KERNELS[vectors.dtype](vectors, _NO_SCALES if scales is None else scales, offsets, query, best)
