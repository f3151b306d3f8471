"""Means of many segments at once."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import embedding_bag

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROWS_A_PIECE = 64


def segment_means(segments: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean of each segment's rows, computed in float32.

    A few kernels for all of them, as a batch of short texts has hundreds, and to launch one for each takes longer than
    the sums. A long segment is summed in pieces, which the GPU computes side by side.

    Args:
        segments: One or more, none empty. *Shape:* ``(n_rows, width)``.

    Returns:
        *Shape:* ``(n_segments, width)``, float32.
    """
    lengths = [len(segment) for segment in segments]
    pieces: list[int] = []
    firsts = []
    for start, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
        firsts.append(len(pieces))
        pieces += range(start, start + length, _ROWS_A_PIECE)
    sums = _sums(_sums(torch.cat(list(segments)).float(), pieces), firsts)
    return sums / _tensor(lengths, like=sums)[:, None]


def _sums(rows: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
    """Sum the rows from each start to the next."""
    return embedding_bag(torch.arange(len(rows), device=rows.device), rows, _tensor(starts, like=rows), mode="sum")


def _tensor(numbers: Sequence[int], *, like: torch.Tensor) -> torch.Tensor:
    # From pinned memory, as any other copy to the GPU would wait for all that it has to do before.
    return torch.tensor(numbers, pin_memory=like.is_cuda).to(like.device, non_blocking=True)
