"""Safetensors files, read and written one tensor at a time: a checkpoint passes in the memory of its largest tensor."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from jina_vllm_integrations.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jina_vllm_integrations.types import FloatArray

Bits: TypeAlias = npt.NDArray[np.uint8]

# What arithmetic is done on, by safetensors' names. A bfloat16, which numpy lacks, is the upper half of a float32.
FLOATS: dict[str, type[np.generic]] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Tensor(Protocol):
    """A tensor whose values are fetched or computed when they are asked for."""

    @property
    def dtype(self) -> str:
        """The name that safetensors has for it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    @property
    def nbytes(self) -> int:
        """How many bytes `bits` returns."""

    def bits(self) -> Bits:
        """Return the values as a file holds them. *Shape:* ``(nbytes,)``."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor that lies in a file.

    Attributes:
        path: The file.
        offset: Where the values begin, in bytes.
        nbytes: How many bytes they take.
        dtype: The name that safetensors has for it.
        shape: Its sizes.
    """

    path: Path
    offset: int
    nbytes: int
    dtype: str
    shape: tuple[int, ...]

    def bits(self) -> Bits:
        """Return the values as the file holds them. *Shape:* ``(nbytes,)``."""
        # Not mapped: pages of a mapped file count as memory for as long as the file is open.
        return np.fromfile(self.path, np.uint8, count=self.nbytes, offset=self.offset)

    def float32(self) -> FloatArray:
        """Return the values of a tensor whose dtype is one of `FLOATS`. *Shape:* ``shape``."""
        stored = self.bits().view(FLOATS[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            bits = stored.astype(np.uint32)
            bits <<= 16
            return bits.view(np.float32)
        return stored.astype(np.float32, copy=False)


def encode(values: FloatArray, dtype: str) -> Bits:
    """Return finite values in the bits of a dtype, rounded to nearest, ties to even.

    Args:
        values: *Shape:* any, contiguous.
        dtype: One of `FLOATS`.
    """
    if dtype == "BF16":
        bits = values.view(np.uint32)
        rounded = bits >> 16
        # Add just under half of the last kept bit, and the rest of the half where that bit is odd.
        rounded &= 1
        rounded += 0x7FFF
        rounded += bits
        rounded >>= 16
        return rounded.astype(np.uint16).reshape(-1).view(np.uint8)
    return values.astype(FLOATS[dtype], copy=False).reshape(-1).view(np.uint8)


def read_tensors(path: Path) -> dict[str, StoredTensor]:
    """Return what a file holds, in the order of the values. No values are read.

    Raises:
        CheckpointError: The file is not in the format, or cut short.
    """
    try:
        with safe_open(path, framework="np"):  # checks the header against itself and the file's size
            header_size, header = _read_header(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged: {error}. Fetch it again.") from error
    header.pop("__metadata__", None)
    tensors = {}
    for name, facts in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = facts["data_offsets"]
        tensors[name] = StoredTensor(
            path=path, offset=header_size + begin, nbytes=end - begin, dtype=facts["dtype"], shape=tuple(facts["shape"])
        )
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, written: Callable[[int], object] | None = None) -> None:
    """Write a file of tensors in the given order, each fetched or computed when its turn comes.

    Args:
        path: A new file.
        tensors: By name.
        written: Told the size of each tensor once it is written.
    """
    with path.open("xb") as file:
        file.write(encode_header(tensors))
        for tensor in tensors.values():
            file.write(tensor.bits().data)
            if written is not None:
                written(tensor.nbytes)


def encode_header(tensors: Mapping[str, Tensor]) -> bytes:
    """Return what stands before the values in a file: the header's length, and the header."""
    # transformers loads only files that say so.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded = encoded.ljust(8 * math.ceil(len(encoded) / 8))  # the values begin aligned
    return len(encoded).to_bytes(8, "little") + encoded


def _read_header(path: Path) -> tuple[int, dict[str, Any]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return 8 + size, json.loads(file.read(size))
