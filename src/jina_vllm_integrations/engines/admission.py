"""How much work is in vLLM at once: enough that it never waits, too little for a queue to form in front of a query."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# Batches of vLLM: up to two in work (async scheduling), one ready.
_BATCHES = 3


class Budget:
    """Something of which so much may be in use at once. Who asks first is served first.

    Belongs to one event loop.

    Args:
        limit: How much. What needs more than all of it gets all of it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, amount: int) -> AsyncGenerator[None]:
        """Wait until there is so much left, and use it."""
        amount = min(amount, self._limit)
        if self._waiting or amount > self._left:
            await self._turn(amount)
        else:
            self._left -= amount
        try:
            yield
        finally:
            self._give_back(amount)

    async def _turn(self, amount: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(amount)
            raise

    def _give_back(self, amount: int) -> None:
        self._left += amount
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.done() and amount > self._left:
                return
            self._waiting.popleft()
            if not turn.done():
                self._left -= amount
                turn.set_result(None)


class Admission:
    """The budgets of one vLLM.

    Texts and images have budgets of their own, so that neither waits for the other before vLLM; inside, texts go first.

    Attributes:
        text_tokens: Prompt tokens of texts in vLLM.
        image_tokens: Prompt tokens of images in vLLM.
        pixels: Pixels in this process and in vLLM, as the model sees them, from before an image is decoded until its
            vectors are here.

    Args:
        batch_tokens: Tokens of one of vLLM's batches, of all its engines together.
        cell_pixels: Pixels of an image's token.
        page_pixels: Pixels of the largest image.
        n_rendered: How many images to hold that are being rendered, or are and wait for vLLM.
    """

    def __init__(self, *, batch_tokens: int, cell_pixels: int, page_pixels: int, n_rendered: int) -> None:
        tokens = _BATCHES * batch_tokens
        self.text_tokens = Budget(tokens)
        self.image_tokens = Budget(tokens)
        self.pixels = Budget(tokens * cell_pixels + n_rendered * page_pixels)
