"""Who hears of an embedding's work in LlamaIndex, and who limits it."""

from __future__ import annotations

from llama_index.core.instrumentation.event_handlers import BaseEventHandler


class Limiter:
    """Counts who asked."""

    def __init__(self):
        self.n_acquired = 0

    def acquire(self):
        """Count."""
        self.n_acquired += 1

    async def async_acquire(self):
        """Count."""
        self.n_acquired += 1


class Events(BaseEventHandler):
    """Keeps what it hears."""

    heard: list

    @classmethod
    def class_name(cls):
        """Return the handler's name."""
        return "Events"

    def handle(self, event, **_):
        """Keep."""
        self.heard.append(event)
