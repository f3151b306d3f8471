"""Errors name an item by its position in what the caller passed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def naming(position: int | None) -> Iterator[None]:
    """Let an error that is raised within be about the item at a position, or about one that was given alone."""
    try:
        yield
    except InputError as error:
        error.index = position
        raise


@contextmanager
def renaming(positions: Sequence[int | None]) -> Iterator[None]:
    """Let an error about one of several items name it by the caller's position; ``None`` for one given alone."""
    try:
        yield
    except InputError as error:
        if error.index is not None:
            error.index = positions[error.index]
        raise
