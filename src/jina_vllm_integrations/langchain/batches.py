"""Many inputs, computed a batch at a time."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from jina_vllm_integrations.adapters.batches import check_several, items_of, python_floats
from jina_vllm_integrations.errors import EngineError, renaming
from jina_vllm_integrations.foundation.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tqdm import tqdm

    from jina_vllm_integrations.adapters.cached_encoder import CachedEncoder
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.types import Item, Request, Role


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The inputs of one call.

    What is made of them, items and prompts, is in memory for one batch only.

    Attributes:
        inputs: All of them.
        item_of: Makes an item of one.
        role: Of all.
        size: How many are made items, and checked, at once.
        progress: Show a bar.
    """

    inputs: Sequence[Any]
    item_of: Callable[[Any], Item]
    role: Role
    size: int
    progress: bool

    @classmethod
    def of(
        cls, inputs: Iterable[Any], item_of: Callable[[Any], Item], *, role: Role, size: int, progress: bool
    ) -> Self:
        """Check that several inputs were given.

        Raises:
            ItemTypeError: One text, image, blob or content block.
        """
        check_several(inputs)
        return cls(inputs=list(inputs), item_of=item_of, role=role, size=size, progress=progress)

    def vectors(self, encoder: JinaEncoder) -> list[list[float]]:
        """Compute one vector an input, the next batch being checked while the last is in work.

        Raises:
            InputError: ``index`` is the position in all inputs.
        """
        with self._bar() as bar, closing(encoder.compute(self._requests(encoder))) as embeddings:
            vectors = []
            for embedding in embeddings:
                assert embedding.dense is not None
                vectors.append(embedding.dense.tolist())
                bar.update()
        return vectors

    def cached_vectors(self, encoder: CachedEncoder) -> list[list[float]]:
        """Do as `vectors` one batch after the other, each of which is kept when it is done."""
        vectors: list[list[float]] = []
        with self._bar() as bar:
            for positions in self._positions():
                with _located(positions):
                    rows = encoder.embed(self._items(positions), role=self.role)
                vectors += python_floats(rows)
                bar.update(len(positions))
        return vectors

    async def avectors(self, encoder: JinaEncoder | CachedEncoder) -> list[list[float]]:
        """Do as `vectors` one batch after the other, without blocking the event loop. Cancelling stops the work."""
        vectors: list[list[float]] = []
        with self._bar() as bar:
            for positions in self._positions():
                with _located(positions):
                    items = await asyncio.to_thread(self._items, positions)
                    rows = await encoder.aembed(items, role=self.role)
                vectors += await asyncio.to_thread(python_floats, rows)
                bar.update(len(positions))
        return vectors

    def _bar(self) -> tqdm[Any]:
        return progress_bar(self.inputs, "embedding", shown=self.progress)

    def _positions(self) -> Iterator[range]:
        for start in range(0, len(self.inputs), self.size):
            yield range(start, min(start + self.size, len(self.inputs)))

    def _items(self, positions: range) -> list[Item]:
        return items_of(self.inputs[positions.start : positions.stop], self.item_of)

    def _requests(self, encoder: JinaEncoder) -> Iterator[Request]:
        for positions in self._positions():
            with renaming(positions):
                requests = encoder.requests(self._items(positions), role=self.role, output="dense")
            yield from requests


@contextmanager
def _located(positions: range) -> Iterator[None]:
    """Let an error about a batch say which inputs it is about."""
    try:
        with renaming(positions):
            yield
    except EngineError as error:
        if positions.start:
            error.add_note(f"in the batch that begins with item {positions.start}")
        raise
