"""Token vectors as bytes, and back."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from jina_vllm_integrations.types import TokenVectors, VectorDtype

if TYPE_CHECKING:
    import numpy.typing as npt

_DTYPES: tuple[VectorDtype, ...] = get_args(VectorDtype)
# Place of the dtype in `_DTYPES`; whether tokens were pooled; rows and size of the vectors; tokens; rows and columns of
# the image's grid, zero for a text. Padded to 64 bytes, which the vectors follow.
_HEADER = struct.Struct("<B?xxIIIII40x")


def to_bytes(tokens: TokenVectors) -> bytes:
    """Serialise a record: header, vectors, scales, token ids, rows of tokens, image mask; little-endian."""
    n_rows, dim = tokens.vectors.shape
    header = _HEADER.pack(
        _DTYPES.index(tokens.vectors.dtype.name),
        tokens.row_of_token is not None,
        n_rows,
        dim,
        len(tokens.token_ids),
        *(tokens.grid or (0, 0)),
    )
    return b"".join(
        [
            header,
            tokens.vectors.tobytes(),
            b"" if tokens.scales is None else tokens.scales.tobytes(),
            tokens.token_ids.astype(np.int32).tobytes(),
            b"" if tokens.row_of_token is None else tokens.row_of_token.astype(np.int32).tobytes(),
            np.packbits(tokens.image_mask).tobytes(),
        ]
    )


def from_bytes(content: bytearray) -> TokenVectors:
    """Return the record that `to_bytes` wrote. Its vectors and scales are views of the content."""
    code, pooled, n_rows, dim, n_tokens, *grid = _HEADER.unpack_from(content)
    section = _Sections(content)
    vectors = section.read(_DTYPES[code], n_rows * dim).reshape(n_rows, dim)
    scales = section.read("float32", n_rows) if _DTYPES[code] == "int8" else None
    token_ids = section.read("int32", n_tokens).astype(np.int64)
    row_of_token = section.read("int32", n_tokens).astype(np.int64) if pooled else None
    mask = section.read("uint8", -(-n_tokens // 8))
    return TokenVectors(
        vectors=vectors,
        token_ids=token_ids,
        image_mask=np.unpackbits(mask, count=n_tokens).astype(bool),
        grid=(grid[0], grid[1]) if grid[0] else None,
        scales=scales,
        row_of_token=row_of_token,
    )


class _Sections:
    """Reads one array after the other."""

    def __init__(self, content: bytearray) -> None:
        self._content = content
        self._offset = _HEADER.size

    def read(self, dtype: str, count: int) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.frombuffer(self._content, dtype, count, self._offset)
        self._offset += array.nbytes
        return array
