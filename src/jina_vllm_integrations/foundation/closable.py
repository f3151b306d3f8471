"""What is closed by its owner, with or without an event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self


class Closable(ABC):
    """Gives what has a ``close`` the other ways to close it."""

    @abstractmethod
    def close(self) -> None:
        """Release what was opened. Closing twice is closing once."""

    async def aclose(self) -> None:
        """Do as `close`, without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
