"""Both ways to call, and what hears of LlamaIndex's work."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

from llama_index_observers import Events


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return what calls a method, or its asynchronous twin in an event loop of its own."""
    if request.param == "sync":
        return lambda owner, method, *given, **options: getattr(owner, method)(*given, **options)
    return lambda owner, method, *given, **options: asyncio.run(getattr(owner, f"a{method}")(*given, **options))


@pytest.fixture
def observed():
    """Return what hears LlamaIndex's events and what its spans, for one test."""
    events, spans = Events(heard=[]), SimpleSpanHandler()
    root = get_dispatcher()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events.heard, spans
    root.event_handlers.remove(events)
    root.span_handlers.remove(spans)
