"""Both ways to call."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return what calls a method, or its asynchronous twin in an event loop of its own."""
    if request.param == "sync":
        return lambda owner, method, *given, **options: getattr(owner, method)(*given, **options)
    return lambda owner, method, *given, **options: asyncio.run(getattr(owner, f"a{method}")(*given, **options))
