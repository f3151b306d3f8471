"""Which pages of a document are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from jina_vllm_integrations.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PART = re.compile(r"\s*(?P<first>[0-9]{1,9})\s*(?P<to>-\s*(?P<last>[0-9]{1,9})?\s*)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PageChoice:
    """Some pages, by number, of a document of any length.

    Attributes:
        ranges: The first and the last page of each, from 1; ``None`` for the last of the document.
    """

    ranges: tuple[tuple[int, int | None], ...]

    @classmethod
    def parse(cls, pages: str | None) -> Self:
        """Read a choice such as ``"1-3,7,20-"``; ``None`` is all pages.

        Raises:
            OptionError: It is none.
        """
        if pages is None:
            return cls(ranges=((1, None),))
        if not isinstance(pages, str):
            raise _malformed(pages)
        return cls(ranges=tuple(_range(part, pages) for part in pages.split(",")))

    def of(self, n_pages: int) -> Sequence[int]:
        """Return the positions, from 0, of the pages that a document has of these: in its order, each once."""
        if len(self.ranges) == 1:
            return _positions(*self.ranges[0], n_pages)
        return sorted({number for first, last in self.ranges for number in _positions(first, last, n_pages)})


def _positions(first: int, last: int | None, n_pages: int) -> range:
    return range(first - 1, n_pages if last is None else min(last, n_pages))


def _range(part: str, pages: str) -> tuple[int, int | None]:
    found = _PART.fullmatch(part)
    if found is None:
        raise _malformed(pages)
    first = int(found["first"])
    last = first if found["to"] is None else None if found["last"] is None else int(found["last"])
    if first < 1 or (last is not None and last < first):
        raise _malformed(pages)
    return first, last


def _malformed(pages: object) -> OptionError:
    return OptionError(
        f"pages must be numbers from 1 and ranges of them, from the lower to the higher, such as '1-3,7,20-', got "
        f"{pages!r:.80}. For all pages leave it out."
    )
