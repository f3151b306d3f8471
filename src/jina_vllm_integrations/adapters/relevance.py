"""Which of what was found is relevant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Scored(Protocol):
    @property
    def score(self) -> float | None:
        """How well it fits; ``None`` if nobody has said."""


_Found = TypeVar("_Found", bound=_Scored)


def relevant(found: Iterable[_Found], least: float | None) -> list[_Found]:
    """Return what has at least a score, in order; all for ``None``."""
    return [each for each in found if least is None or (each.score is not None and each.score >= least)]
