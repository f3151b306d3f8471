"""Where documents lie in memory, for compiled code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from jina_vllm_integrations.scoring.packing import PackedVectors
    from jina_vllm_integrations.scoring.rows import Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """The addresses of documents' C-contiguous rows, valid as long as the arrays that they belong to.

    Attributes:
        dtype: Of the rows.
        addresses: Of each document's first row. *Shape:* ``(n_documents,)``, uint64.
        scale_addresses: Of each document's first scale, where the rows are int8. *Shape:* ``(n_documents,)``, uint64.
        lengths: How many rows each document has. *Shape:* ``(n_documents,)``, int64.
    """

    dtype: str
    addresses: npt.NDArray[np.uint64]
    scale_addresses: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of_list(cls, documents: Sequence[Rows]) -> Self:
        """Find documents that are arrays of their own."""
        addresses = [_address(vectors) for vectors, _ in documents]
        scales = [0 if scales is None else _address(scales) for _, scales in documents]
        return cls(
            dtype=documents[0].vectors.dtype.name,
            addresses=np.array(addresses, dtype=np.uint64),
            scale_addresses=np.array(scales, dtype=np.uint64),
            lengths=np.array([len(vectors) for vectors, _ in documents], dtype=np.int64),
        )

    @classmethod
    def of_packed(cls, packed: PackedVectors) -> Self:
        """Find documents that follow each other in one array."""
        starts = packed.offsets[:-1].astype(np.uint64)
        row_bytes = packed.vectors.strides[0]
        scale_address = 0 if packed.scales is None else _address(packed.scales)
        return cls(
            dtype=packed.vectors.dtype.name,
            addresses=np.uint64(_address(packed.vectors)) + starts * np.uint64(row_bytes),
            scale_addresses=np.uint64(scale_address) + starts * np.uint64(4),
            lengths=np.diff(packed.offsets),
        )

    def __getitem__(self, share: slice) -> Places:
        """Return the places of some of the documents."""
        return Places(
            dtype=self.dtype,
            addresses=self.addresses[share],
            scale_addresses=self.scale_addresses[share],
            lengths=self.lengths[share],
        )


def _address(array: npt.NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
