"""What is one thing for all who hold it."""

from __future__ import annotations

from typing import Any, Self


class SharedByCopies:
    """Copied, also deeply, it is itself: an open file, a lock or a GPU's memory cannot be copied.

    So whatever holds one can be copied, as frameworks do with their retrievers, tools and agents, and holds the same.
    """

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
