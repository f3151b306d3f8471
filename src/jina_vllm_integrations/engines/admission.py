"""How much work is in vLLM at once: enough that it never waits, too little for a queue to form in front of a query."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

# Batches of vLLM: up to two in work (async scheduling), one ready.
_BATCHES = 3
# While there are texts, images go to vLLM in portions: a query waits for the batch in work, then for its own.
_BATCHES_BESIDE_TEXTS = 0.5
# Seconds after the last text for which that stays so. A person's next query, an agent's next step.
_CALM = 2.0


class Budget:
    """Something of which so much may be in use at once. Who asks first is served first.

    Belongs to one event loop.

    Args:
        limit: How much. What needs more than all of it is served alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def limit(self) -> int:
        """How much may be in use. What is in use when it falls stays so."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._admit()

    @asynccontextmanager
    async def take(self, amount: int) -> AsyncGenerator[None]:
        """Wait until there is so much left, and use it."""
        if self._waiting or not self._fits(amount):
            await self._turn(amount)
        else:
            self._used += amount
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
            if turn.cancelled():
                self._admit()  # those behind it may fit
            else:
                self._give_back(amount)
            raise

    def _give_back(self, amount: int) -> None:
        self._used -= amount
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            amount, turn = self._waiting[0]
            if not turn.done() and not self._fits(amount):
                return
            self._waiting.popleft()
            if not turn.done():
                self._used += amount
                turn.set_result(None)

    def _fits(self, amount: int) -> bool:
        return self._used + amount <= self._limit or self._used == 0


class Admission:
    """What of the requests may be in vLLM, or on its way there, at once. Belongs to one event loop.

    Texts and images have budgets of their own, so that neither waits for the other before vLLM; inside, texts go first.

    Attributes:
        pixels: Of images, as the model sees them, from before one is decoded until its vectors are here.

    Args:
        batch_tokens: Tokens of one of vLLM's batches, of all its engines together.
        cell_pixels: Pixels of an image's token.
        page_pixels: Pixels of the largest image.
        n_rendered: How many images to hold that are being rendered, or are and wait for vLLM.
    """

    def __init__(self, *, batch_tokens: int, cell_pixels: int, page_pixels: int, n_rendered: int) -> None:
        self._batch_tokens = batch_tokens
        self._text_tokens = Budget(_BATCHES * batch_tokens)
        self._image_tokens = Budget(_BATCHES * batch_tokens)
        self.pixels = Budget(_BATCHES * batch_tokens * cell_pixels + n_rendered * page_pixels)
        self._calm_at = 0.0
        self._is_calm = True

    def text(self, n_tokens: int) -> AbstractAsyncContextManager[None]:
        """Wait until vLLM has room for a text of so many tokens, and take it."""
        loop = asyncio.get_running_loop()
        self._calm_at = loop.time() + _CALM
        if self._is_calm:
            self._is_calm = False
            self._image_tokens.limit = int(_BATCHES_BESIDE_TEXTS * self._batch_tokens)
            loop.call_at(self._calm_at, self._calm)
        return self._text_tokens.take(n_tokens)

    def image(self, n_tokens: int) -> AbstractAsyncContextManager[None]:
        """Wait until vLLM has room for an image's prompt of so many tokens, and take it."""
        return self._image_tokens.take(n_tokens)

    def _calm(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._calm_at:  # there was another text meanwhile
            loop.call_at(self._calm_at, self._calm)
            return
        self._is_calm = True
        self._image_tokens.limit = _BATCHES * self._batch_tokens
