"""Matrices of widths that fast kernels take: the vision encoder's MLP, padded with zeros.

Qwen2.5-VL's vision MLP is 3420 wide, which no multiple of 8 divides: on Hopper its products fall to kernels of half the
speed, and fp8 has none. Zero rows of the gate and up projections give zeros, zero columns of the down projection add
none, so the outputs are the same in exact arithmetic.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

_MULTIPLE = 64
_MLP = re.compile(r"visual\.blocks\.\d+\.mlp\.(gate_proj|up_proj|down_proj)\.(weight|bias)$")


def padded_width(width: int) -> int:
    """Round up to a multiple of 64."""
    return -(-width // _MULTIPLE) * _MULTIPLE


def padded_weights(weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a checkpoint's tensors, those of the vision MLP with zeros up to its `padded_width`."""
    for name, tensor in weights:
        match = _MLP.search(name)
        yield name, tensor if match is None else _padded(tensor, *match.groups())


def _padded(tensor: torch.Tensor, projection: str, kind: str) -> torch.Tensor:
    if projection != "down_proj":  # its outputs are the MLP's width: rows, and the bias
        return pad(tensor, (0,) * (2 * tensor.dim() - 1) + (padded_width(len(tensor)) - len(tensor),))
    if kind == "weight":
        return pad(tensor, (0, padded_width(tensor.shape[1]) - tensor.shape[1]))
    return tensor
