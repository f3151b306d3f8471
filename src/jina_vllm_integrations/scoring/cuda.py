"""MaxSim on a GPU, in torch's matrix products.

How was decided by measuring (``examples/benchmarks/results/gpu_maxsim.json``, one H100): 10,000 pages of 750 float16
tokens take 3.5 ms so, from NumPy to NumPy, and the scores are exact to 4e-7. flash-maxsim and late-interaction-kernels
take 0.7 and 0.9 ms, with the scores left on the GPU, but round the query to float16, which is an error of 6e-5 and
another order of near-ties. Torch is there with vLLM; of its maxima by document, ``segment_reduce`` is the fastest.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.errors import MissingExtraError
from jina_vllm_integrations.scoring.rows import check_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    import torch

    from jina_vllm_integrations.types import FloatArray, VectorArray

# How many products a block of documents may have: their matrix takes 256 MB.
_PRODUCTS = 2**26


class CudaVectors:
    """Documents in a GPU's memory, for any number of searches. `score`, `score_many` and `top_k` take it.

    Products and sums are float32: a float16 document is multiplied by the query's two halves, float16 numbers
    that sum to the query's float32, and int8 rows are float16 numbers with a scale.

    Args:
        vectors: The documents' rows, as in `PackedVectors`, like the following. They are copied.
        offsets: Where each document begins and ends.
        scales: What int8 rows are multiplied by.
        device: Which GPU, in torch's words.

    Raises:
        MissingExtraError: torch is not installed.
    """

    def __init__(
        self,
        *,
        vectors: VectorArray,
        offsets: npt.NDArray[np.int64],
        scales: FloatArray | None,
        device: str = "cuda",
    ) -> None:
        if find_spec("torch") is None:
            raise MissingExtraError("torch", extra="gpu")
        import torch

        self._vectors = torch.from_numpy(vectors).to(device)
        self._scales = None if scales is None else torch.from_numpy(scales).to(device)
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def best_similarities(self, queries: Sequence[FloatArray]) -> list[FloatArray]:
        """Return for each query the greatest inner product of each document with each of its tokens.

        *Shape:* ``(n_documents, n_query_tokens)`` each, float32.

        Raises:
            InputError: The queries are of another width.
        """
        import torch

        check_width(queries[0], self._vectors)
        query = torch.from_numpy(np.concatenate(queries)).to(self._vectors.device)
        best = torch.cat([self._best(query, first, last) for first, last in self._blocks(len(query))])
        ends = np.cumsum([len(query) for query in queries])
        return np.split(best.cpu().numpy(), ends[:-1], axis=1)

    def _blocks(self, n_columns: int) -> Iterator[tuple[int, int]]:
        """Yield the first document of each block and the one after its last."""
        first = 0
        while first < len(self):
            most = self._offsets[first] + _PRODUCTS // n_columns
            last = max(first + 1, int(np.searchsorted(self._offsets, most, side="right")) - 1)
            yield first, last
            first = last

    def _best(self, query: torch.Tensor, first: int, last: int) -> torch.Tensor:
        import torch

        rows = slice(int(self._offsets[first]), int(self._offsets[last]))
        similarities = products(self._vectors[rows], query)
        if self._scales is not None:
            similarities *= self._scales[rows, None]
        offsets = torch.from_numpy(self._offsets[first : last + 1] - self._offsets[first]).to(query.device)
        return torch.segment_reduce(similarities, "max", offsets=offsets, axis=0)


def products(vectors: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Return inner products in float32. *Shape:* ``(n_rows, n_query_tokens)``."""
    import torch

    if vectors.dtype == torch.float32:
        return vectors @ query.T
    high = query.half()
    halves = torch.cat([high, (query - high.float()).half()])
    both = torch.mm(vectors.half(), halves.T, out_dtype=torch.float32)
    return both[:, : len(query)] + both[:, len(query) :]
