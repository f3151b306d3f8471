"""Stores that others wrote, and what each is known to do: shared by the matrices of both frameworks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack
    from pathlib import Path

DIMENSIONS = 64  # the fake engine's
numbers = count()

OTHERS_WARNINGS = [
    # Clients that leave sockets and files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # What adapters use of their own clients, and those of themselves.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*ORM-style PyMilvus"),
    pytest.mark.filterwarnings("ignore:No ids provided and auto_id is False"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a test's store may be made.

    Attributes:
        folder: For files.
        server: The server's socket or port, for a store that has one.
        runner: The event loop of the test: connections belong to the loop that made them.
        way: ``"sync"`` or ``"async"``.
        closing: Closes what a store leaves open.
    """

    folder: Path
    server: Any
    runner: asyncio.Runner
    way: str
    closing: ExitStack

    def call(self, owner, method, *given, **options):
        """Call a method, or its asynchronous twin."""
        if self.way == "sync":
            return getattr(owner, method)(*given, **options)
        return self.runner.run(getattr(owner, f"a{method}")(*given, **options))


@dataclass(frozen=True, kw_only=True)
class Cannot:
    """The error that a user gets.

    Attributes:
        error: Its type; two where the synchronous way has another than the asynchronous.
        telling: A part of its message, as a regular expression.
    """

    error: type[Exception] | tuple[type[Exception], ...]
    telling: str


@dataclass(frozen=True, kw_only=True)
class Other:
    """A row of a matrix.

    Attributes:
        make: Makes an empty store from our embeddings, in a `Place`.
        server: Which server it needs.
        only: The options of a search that finds what has the place 2, in the store's own form.
        replaces: What is added under an id that is there takes its place; otherwise both are found.
        finds_ids: What is found has its id.
        cannot: The cells that are errors, by ability. All others are as the tests say.
    """

    make: Callable[..., Any]
    server: str | None = None
    only: Mapping[str, Any]
    replaces: bool = True
    finds_ids: bool = True
    cannot: Mapping[str, Cannot] = field(default_factory=dict)

    @contextmanager
    def cell(self, ability):
        """Let what is inside go well, or be the error that the table says."""
        if ability not in self.cannot:
            yield
            return
        with pytest.raises(self.cannot[ability].error, match=self.cannot[ability].telling):
            yield


def in_slice(rows, names):
    """Return rows as parameters: those of these names run in `make test`, too."""
    return [
        pytest.param(row, id=name, marks=[pytest.mark.slice] if name in names else []) for name, row in rows.items()
    ]
