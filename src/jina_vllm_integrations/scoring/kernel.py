"""The inner loops of MaxSim, compiled by Numba on first use, which takes two seconds, and kept on the disk.

A matrix product would first write all products to memory and copy the documents into its own layout. Here every
document is read once, from whatever dtype it is kept in, and only the maxima are written; on two cores that takes less
than half of what NumPy takes, document by document (``examples/benchmarks/results/late_interaction.json``). Each
product is computed by itself in the same order of additions, so a score has the same bits in any batch and on any
number of threads.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_vllm_integrations.scoring.places import Places
    from jina_vllm_integrations.types import FloatArray

# Queries are padded to a multiple of this: so many products of two rows fit the processor's registers.
TOKENS_AT_ONCE = 4

# Additions may be reordered, which is what makes them fast; NaN and infinity stay what they are.
_OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "nsz"}, "nogil": True, "boundscheck": False}
_inlined = njit(**_OPTIONS, inline="always")

logger = logging.getLogger(__name__)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile on first use, and keep the machine code on the disk for other processes, where there is room for it."""
    try:
        kept: Callable[..., None] = njit(**_OPTIONS, cache=True)(function)
    except RuntimeError as error:  # Numba finds no folder to write to
        logger.info("each process compiles MaxSim anew, in two seconds: %s", error)
        kept = njit(**_OPTIONS)(function)
    return kept


# How float16 becomes float32: sign, exponent and fraction move to their places in 32 bits, an exponent of ones only
# (infinity, NaN) stays one, and a product moves the exponent's bias from 15 to 127.
_FRACTION_SHIFT = 13
_SIGN_AND_MAGNITUDE = np.uint32(0x8FFFE000).view(np.int32)
_HALF_EXPONENT = np.int32(0x7C00)
_EXPONENT = np.int32(0x7F800000)
_BIAS = np.float32(2.0**112)


@_inlined
def _float32_row(vectors: Any, _scales: Any, row: int, _floats: Any, _bits: Any) -> Any:
    return vectors[row]


@_inlined
def _float16_row(vectors: Any, _scales: Any, row: int, floats: Any, bits: Any) -> Any:
    for k in range(len(floats)):
        half = np.int32(vectors[row, k])
        single = (half << _FRACTION_SHIFT) & _SIGN_AND_MAGNITUDE
        bits[k] = single | _EXPONENT if half & _HALF_EXPONENT == _HALF_EXPONENT else single
    for k in range(len(floats)):
        floats[k] *= _BIAS
    return floats


@_inlined
def _int8_row(vectors: Any, scales: Any, row: int, floats: Any, _bits: Any) -> Any:
    for k in range(len(floats)):
        floats[k] = vectors[row, k] * scales[row]
    return floats


@intrinsic
def _pointer(_context: Any, address: Any) -> Any:
    """Take a number for an address: Numba knows lists of arrays only in a form that takes long to make."""

    def inttoptr(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(address), inttoptr


@_inlined
def _search(  # noqa: PLR0917 - Numba inlines it, which takes no names
    load: Any, dtype: Any, dim: int, addresses: Any, scale_addresses: Any, lengths: Any, query: Any, best: Any
) -> None:
    bits = np.empty((2, dim), dtype=np.int32)
    floats = bits.view(np.float32)
    for document in range(len(best)):
        length = lengths[document]
        vectors = carray(_pointer(addresses[document]), (length, dim), dtype)
        scales = carray(_pointer(scale_addresses[document]), (length,), np.float32)
        maxima = best[document]
        maxima[:] = -np.inf
        check = np.float32(0)
        for row in range(0, length, 2):
            a = load(vectors, scales, row, floats[0], bits[0])
            b = load(vectors, scales, min(row + 1, length - 1), floats[1], bits[1])  # the last may count twice
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


# One kernel for a dtype and a width: loops whose length is known need no remainders, and run a quarter faster. Numba
# finds one on the disk by its name and what it closes over, so that is the width alone; a reader of rows, which is
# another object in each process, would never be found again.


@cache
def _float32_kernel(dim: int) -> Callable[..., None]:
    @_compiled
    def float32_kernel(addresses: Any, scale_addresses: Any, lengths: Any, query: Any, best: Any) -> None:
        _search(_float32_row, np.float32, dim, addresses, scale_addresses, lengths, query, best)

    return float32_kernel


@cache
def _float16_kernel(dim: int) -> Callable[..., None]:
    @_compiled
    def float16_kernel(addresses: Any, scale_addresses: Any, lengths: Any, query: Any, best: Any) -> None:
        _search(_float16_row, np.int16, dim, addresses, scale_addresses, lengths, query, best)  # Numba knows no float16

    return float16_kernel


@cache
def _int8_kernel(dim: int) -> Callable[..., None]:
    @_compiled
    def int8_kernel(addresses: Any, scale_addresses: Any, lengths: Any, query: Any, best: Any) -> None:
        _search(_int8_row, np.int8, dim, addresses, scale_addresses, lengths, query, best)

    return int8_kernel


_KERNELS = {"float32": _float32_kernel, "float16": _float16_kernel, "int8": _int8_kernel}


def best_similarities(places: Places, query: FloatArray, best: FloatArray) -> None:
    """Write the greatest inner product of each document with each token of a query.

    Args:
        places: Where the documents are, whose arrays the caller keeps alive.
        query: *Shape:* ``(n_tokens, dim)``, float32, C-contiguous; ``n_tokens`` a multiple of `TOKENS_AT_ONCE`.
        best: Where to. NaN for a document that is not finite. *Shape:* ``(n_documents, n_tokens)``, float32.
    """
    kernel = _KERNELS[places.dtype](query.shape[1])
    arguments = places.addresses, places.scale_addresses, places.lengths, query, best
    try:
        kernel(*arguments)
    except OSError as error:  # it was compiled, and then could not be kept
        logger.warning("each process compiles MaxSim anew, in two seconds, as Numba cannot write its cache: %s", error)
        kernel(*arguments)
