"""An image on its way through a process that renders it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jina_vllm_integrations.engines.rendering import channel
from jina_vllm_integrations.errors import JinaVLLMError
from jina_vllm_integrations.foundation.opening import Beneath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.images import ImageHandle


@dataclass(eq=False)
class Job:
    """An image that is packed, and the answer that is waited for.

    Attributes:
        label: Which image it is, for messages.
        parcel: What goes to the process. Whoever made the job closes it.
        tries: How many processes died over it.
        answer: vLLM's ``EngineInput``.
    """

    label: str
    parcel: channel.Parcel
    tries: int = 0
    answer: asyncio.Future[dict[str, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @classmethod
    async def of(cls, image: ImageHandle, token_ids: Sequence[int]) -> Self:
        """Pack an image beside the event loop.

        Raises:
            ImageError: A PIL image that its owner did not decode is damaged.
        """
        packing = asyncio.get_running_loop().run_in_executor(None, _packed, image, token_ids)
        try:
            return cls(image.label, await asyncio.shield(packing))
        except asyncio.CancelledError:
            packing.add_done_callback(_drop)  # a thread goes on
            raise

    def settle(self, message: dict[str, Any] | JinaVLLMError) -> None:
        """Give the answer, or the error, to who waits for it, if somebody does."""
        if self.answer.done():
            return  # cancelled meanwhile
        if isinstance(message, JinaVLLMError):
            self.answer.set_exception(message)
        else:
            self.answer.set_result(message)

    def close(self) -> None:
        """Let go of the parcel."""
        os.close(self.parcel.descriptor)


def _packed(image: ImageHandle, token_ids: Sequence[int]) -> channel.Parcel:
    """Pack a job. A path is read there; a caller's PIL image, which may change, is decoded here."""
    match image.origin:
        case Path() as path:  # the processes' working directory is another one, once the caller changes its own
            portable = replace(image, origin=path.absolute())
        case Beneath():
            portable = image
        case _:
            portable = image.pinned()
    return channel.pack((portable, list(token_ids)))


def _drop(packing: asyncio.Future[channel.Parcel]) -> None:
    if not packing.cancelled() and packing.exception() is None:
        os.close(packing.result().descriptor)
