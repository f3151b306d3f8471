"""A store and an engine that note what they are asked, and both ways to ask."""

from __future__ import annotations

import asyncio
import threading

from langchain_core.stores import InMemoryByteStore

from fake_engines import RecordingEngine


class AskedEngine(RecordingEngine):
    """Notes where it was asked what it is."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked_in = []

    @property
    def fingerprint(self):
        """Note the thread that asks."""
        self.asked_in.append(threading.current_thread())
        return self._fingerprint

    @fingerprint.setter
    def fingerprint(self, fingerprint):
        self._fingerprint = fingerprint


class RecordingStore(InMemoryByteStore):
    """Notes how many keys each call has."""

    def __init__(self):
        super().__init__()
        self.read, self.written = [], []

    def mget(self, keys):
        """Note and read."""
        self.read.append(len(keys))
        return super().mget(keys)

    def mset(self, key_value_pairs):
        """Note and write."""
        self.written.append(len(key_value_pairs))
        super().mset(key_value_pairs)


def both(method):
    """Return ways to call a method of embeddings: it, and its twin in a loop of its own."""
    return (
        lambda embeddings, *given, **options: getattr(embeddings, method)(*given, **options),
        lambda embeddings, *given, **options: asyncio.run(getattr(embeddings, f"a{method}")(*given, **options)),
    )
