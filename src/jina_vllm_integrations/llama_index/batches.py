"""Inputs that are embedded together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from jina_vllm_integrations.adapters.batches import check_several, items_of, python_floats
from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.errors import renaming
from jina_vllm_integrations.llama_index.images import image_item, node_item
from jina_vllm_integrations.types import ImageInput, TextInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llama_index.core.base.embeddings.base import Embedding

    from jina_vllm_integrations.types import EmptyText, FloatArray, Item, Role


class ItemEncoder(Protocol):
    """Who embeds items, such as a `UniqueEncoder`."""

    def embed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Return a vector an item."""

    async def aembed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Do as `embed`, without blocking the event loop."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some inputs of a call.

    Attributes:
        inputs: What the caller passed.
        positions: Where in the call; ``None`` for one that was passed alone.
        kind: What they are.
    """

    inputs: Sequence[Any]
    positions: Sequence[int | None]
    kind: Kind

    def vectors(self, encoder: ItemEncoder) -> list[Embedding]:
        """Compute a vector an input.

        Raises:
            InputError: ``index`` is the position in the call.
        """
        with renaming(self.positions):
            return python_floats(encoder.embed(self.items(), role=self.kind.role))

    async def avectors(self, encoder: ItemEncoder) -> list[Embedding]:
        """Do as `vectors`, without blocking the event loop. Cancelling stops the work."""
        with renaming(self.positions):
            items = await asyncio.to_thread(self.items)
            rows = await encoder.aembed(items, role=self.kind.role)
        return await asyncio.to_thread(python_floats, rows)

    def items(self) -> list[TextInput | ImageInput]:
        """Return them as an encoder takes them."""
        return items_of(self.inputs, self.kind.item_of)

    def labels(self) -> list[str]:
        """Return what events call them."""
        return [label(item) for item in self.items()]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a call's inputs are.

    Attributes:
        item_of: Makes an item of one.
        role: Decides the prompt of texts.
    """

    item_of: Callable[[Any], TextInput | ImageInput]
    role: Role

    def one(self, given: Any) -> Batch:
        """Return one input as a batch."""
        return Batch(inputs=[given], positions=[None], kind=self)

    def all(self, inputs: Sequence[Any]) -> Batch:
        """Return several inputs as one batch.

        Raises:
            ItemTypeError: One text, image, node or block.
        """
        check_several(inputs)
        return Batch(inputs=inputs, positions=range(len(inputs)), kind=self)

    def batches(self, inputs: Sequence[Any], size: int) -> Iterator[Batch]:
        """Yield several inputs, a size at a time. Errors are those of `all`."""
        whole = self.all(inputs)
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            yield Batch(inputs=whole.inputs[part], positions=whole.positions[part], kind=self)


QUERIES = Kind(item_of=TextInput, role="query")
TEXTS = Kind(item_of=TextInput, role="document")
# An image has one prompt, whatever its role.
IMAGES = Kind(item_of=image_item, role="document")


def node_kind(empty_text: EmptyText) -> Kind:
    """Return what nodes are, those without content by choice among them."""
    return Kind(item_of=partial(node_item, empty_text=empty_text), role="document")
