"""What a batch of an adapter is, whichever framework's: several inputs in, lists of floats out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from jina_vllm_integrations.encoding.requests import check_plural
from jina_vllm_integrations.errors import InputError, ItemTypeError, naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jina_vllm_integrations.types import FloatArray

_Item = TypeVar("_Item")


def check_several(inputs: Iterable[Any]) -> None:
    """Raise `ItemTypeError` for one text, image, document, node, blob or content block in place of several."""
    check_plural(inputs)
    if isinstance(inputs, Mapping | BaseModel):  # which iterate over their fields
        raise ItemTypeError(f"several inputs are a list, got one {type(inputs).__name__}. For one write [it].")


def items_of(inputs: Iterable[Any], item_of: Callable[[Any], _Item]) -> list[_Item]:
    """Return what is made of each input, in order.

    Raises:
        InputError: Nothing can be made of one; ``index`` is its position.
    """
    items: list[_Item] = []
    for index, given in enumerate(inputs):
        with naming(index):
            items.append(item_of(given))
    return items


def items_or_errors(inputs: Iterable[Any], item_of: Callable[[Any], _Item]) -> list[_Item | InputError]:
    """Return what is made of each input, in order; where nothing can be made of one, why."""
    items: list[_Item | InputError] = []
    for given in inputs:
        try:
            items.append(item_of(given))
        except InputError as error:
            items.append(error)
    return items


def python_floats(vectors: FloatArray) -> list[list[float]]:
    """Return vectors as the frameworks take them.

    Row by row: one call for all would hold the interpreter, and so an event loop in another thread.
    """
    return [row.tolist() for row in vectors]
