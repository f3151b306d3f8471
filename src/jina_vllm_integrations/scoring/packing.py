"""Many documents in one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.scoring.quantization import dequantize, quantize
from jina_vllm_integrations.scoring.rows import Rows, Tokens, document_rows, not_finite
from jina_vllm_integrations.types import FloatArray, VectorArray, VectorDtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from jina_vllm_integrations.scoring.cuda import CudaVectors

_MATRIX = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedVectors:
    """Documents of any lengths, one after the other. Made by `pack`.

    Raises:
        InputError: The arrays do not fit each other.

    Attributes:
        vectors: All rows. *Shape:* ``(n_rows, dim)``, float32, float16 or int8.
        offsets: Document i has the rows from ``offsets[i]`` to ``offsets[i + 1]``. *Shape:* ``(n_documents + 1,)``,
            int64.
        scales: What an int8 row is multiplied by; ``None`` for floats. *Shape:* ``(n_rows,)``, float32.
    """

    vectors: VectorArray
    offsets: npt.NDArray[np.int64]
    scales: FloatArray | None = None

    def __post_init__(self) -> None:
        # They are searched by address, so nothing may be taken on trust.
        vectors, offsets, scales = self.vectors, self.offsets, self.scales
        if not (
            vectors.ndim == _MATRIX
            and vectors.dtype.name in get_args(VectorDtype)
            and vectors.flags.c_contiguous
            and offsets.dtype == np.int64
            and offsets.ndim == 1
            and offsets.size
            and (offsets[0], offsets[-1]) == (0, len(vectors))
            and (np.diff(offsets) > 0).all()
            and (scales is None) == (vectors.dtype != np.int8)
            and (scales is None or (scales.shape == vectors.shape[:1] and scales.dtype == np.float32))
            and (scales is None or scales.flags.c_contiguous)
        ):
            raise InputError(
                "packed vectors must be C-contiguous rows of float32, float16 or int8, ascending int64 offsets from 0 "
                f"to their number, and a float32 scale for each int8 row; got {vectors.dtype} {vectors.shape}, "
                f"{offsets.dtype} offsets {offsets.shape}. Make them with pack()."
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.vectors.nbytes + self.offsets.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def to_cuda(self, device: str = "cuda") -> CudaVectors:
        """Return a copy in a GPU's memory, which is searched there. Needs torch.

        Args:
            device: Which GPU, in torch's words.
        """
        from jina_vllm_integrations.scoring.cuda import CudaVectors

        return CudaVectors(vectors=self.vectors, offsets=self.offsets, scales=self.scales, device=device)


def pack(documents: Iterable[Tokens], *, dtype: VectorDtype | None = None) -> PackedVectors:
    """Copy documents into one array.

    Args:
        documents: Their token vectors, of one width and dtype. May be empty.
        dtype: How to keep them; ``None`` for the dtype that they have.

    Raises:
        InputError: A document cannot be scored, or holds what is not finite; ``index`` names it.
        OptionError: There is no such dtype.
    """
    if dtype is not None:
        check_choice("dtype", dtype, VectorDtype)
    lengths, vectors, scales = [0], [], []
    for index, rows in enumerate(document_rows(documents)):
        if rows.vectors.dtype != np.int8 and not np.isfinite(rows.vectors).all():
            raise not_finite(index)
        if dtype not in (None, rows.vectors.dtype.name):
            rows = Rows(*quantize(dequantize(*rows), dtype))  # noqa: PLW2901
        lengths.append(len(rows.vectors))
        vectors.append(rows.vectors)
        if rows.scales is not None:
            scales.append(rows.scales)
    return PackedVectors(
        vectors=np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=dtype or np.float32),
        offsets=np.cumsum(lengths, dtype=np.int64),
        scales=np.concatenate(scales) if scales else None,
    )
