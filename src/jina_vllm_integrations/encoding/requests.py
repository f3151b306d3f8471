"""From items to requests for an engine: all checked before the first is sent, or one by one as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from jina_vllm_integrations.encoding.in_flight import Interrupted, next_lot
from jina_vllm_integrations.errors import CheckpointError, InputError, ItemTypeError
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.types import Item, Output, Request, Role, Task

if TYPE_CHECKING:
    from jina_vllm_integrations.model.checkpoints import Checkpoint
    from jina_vllm_integrations.model.prompts import PromptBuilder

R = TypeVar("R")

# How many requests are built at once beside an event loop: enough to hide the hop to a worker thread, few enough that
# a slow iterable is not waited for.
_LOT = 16


class RequestBuilder:
    """Builds an encoder's requests.

    Args:
        prompts: Checks the items.
        checkpoint: Whose multi-vector heads there are.
        task: Whose adapter and head apply.
        dimensions: Matryoshka size of dense vectors; ``None`` for the full size.
    """

    def __init__(self, prompts: PromptBuilder, checkpoint: Checkpoint, *, task: Task, dimensions: int | None) -> None:
        self._prompts = prompts
        self._checkpoint = checkpoint
        self._task = task
        self._dimensions = dimensions

    def all(self, items: Iterable[Item | InputError], role: Role, output: Output) -> list[Request]:
        """Build the requests of all items. Errors are those of `checked`."""
        return list(self.checked(items, role, output))

    def checked(self, items: Iterable[Item | InputError], role: Role, output: Output) -> Iterator[Request]:
        """Build requests as they are taken, and stop at the first bad item.

        Raises:
            InputError: An item cannot be embedded; ``index`` is its position.
            OptionError: The role does not exist.
            CheckpointError: The checkpoint cannot give this output.
        """
        for index, request in enumerate(self.lazily(items, role, output)):
            if isinstance(request, Request):
                yield request
                continue
            error = request.error if isinstance(request, Interrupted) else request
            if isinstance(error, InputError):
                error.index = index
            raise error

    def lazily(self, items: Iterable[Item | InputError], role: Role, output: Output) -> Iterator[Request | Exception]:
        """Build requests as they are taken.

        The `InputError` of a bad item takes the place of its request, and so does one in the place of an item: its
        reader's. What the iterable itself raises comes last, an `InputError` as `Interrupted`: no item has it.

        Raises:
            OptionError: The role does not exist.
            CheckpointError: The checkpoint cannot give this output.
        """
        self._check_call(role, output)
        check_plural(items)
        return self._build_each(items, role, output)

    async def lots(
        self, items: Iterable[Item | InputError] | AsyncIterable[Item | InputError], role: Role, output: Output
    ) -> AsyncIterator[Sequence[Request | Exception]]:
        """Do as `lazily` in worker threads, several requests at a time."""
        if not isinstance(items, AsyncIterable):
            requests = self.lazily(items, role, output)
            while lot := await asyncio.to_thread(next_lot, requests, _LOT):
                yield lot
            return
        self._check_call(role, output)
        try:
            async for item in items:
                yield [await asyncio.to_thread(self._build_or_error, item, role, output)]
        except Exception as error:  # noqa: BLE001 - the caller's own, raised in its turn
            yield [_interruption(error)]

    async def checked_lots(
        self, items: Iterable[Item | InputError], role: Role, output: Output
    ) -> AsyncIterator[Sequence[Request]]:
        """Do as `all` in a worker thread, and hand the requests over several at a time."""
        requests = await asyncio.to_thread(self.all, items, role, output)
        for lot in in_lots(requests):
            yield lot

    def _check_call(self, role: Role, output: Output) -> None:
        check_choice("role", role, Role)
        if output == "dense" or self._task in self._checkpoint.token_tasks:
            return
        if self._checkpoint.token_tasks:
            raise CheckpointError(
                f"{self._checkpoint.model!r} has the multi-vector head of {', '.join(self._checkpoint.token_tasks)}, "
                f"not of {self._task}. Pass the engine projector=PATH of one that was prepared for it."
            )
        raise CheckpointError(
            f"{self._checkpoint.model!r} has no multi-vector head, which token vectors need. Make a checkpoint that "
            f"has one with: jina-vllm prepare jinaai/jina-embeddings-v4 OUT --task {self._task}; or pass the engine "
            "projector=PATH of one that was made so."
        )

    def _build_each(
        self, items: Iterable[Item | InputError], role: Role, output: Output
    ) -> Iterator[Request | Exception]:
        try:
            for item in items:
                yield self._build_or_error(item, role, output)
        except Exception as error:  # noqa: BLE001 - the caller's own, raised in its turn
            yield _interruption(error)

    def _build_or_error(self, item: Item | InputError, role: Role, output: Output) -> Request | InputError:
        if isinstance(item, InputError):
            return item
        try:
            prompt = self._prompts.build(item, role)
        except InputError as error:
            return error
        return Request(prompt=prompt, task=self._task, output=output, dimensions=self._dimensions)


def _interruption(error: Exception) -> Exception:
    return Interrupted(error) if isinstance(error, InputError) else error


def in_lots(requests: Sequence[R]) -> Iterator[Sequence[R]]:
    """Yield requests a few at a time, so that an event loop does not hand over all at once."""
    for start in range(0, len(requests), _LOT):
        yield requests[start : start + _LOT]


def check_plural(items: object) -> None:
    """Raise `ItemTypeError` for one item where several are expected."""
    if isinstance(items, str | bytes) or not isinstance(items, Iterable) or hasattr(items, "read"):
        raise ItemTypeError(
            f"items must be an iterable of texts and images, got one {type(items).__name__}. For one item write [item]."
        )
