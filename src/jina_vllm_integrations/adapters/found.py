"""Documents that a store found, of which a bad one never takes the good ones along."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.foundation.skipping import OnFoundError, Skipping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.reranking import Ranking

logger = logging.getLogger(__name__)

_MOST_SAID = 4096


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A document in the order in which it is returned.

    Attributes:
        index: Its position in what was found.
        score: ``None`` for one that could not be ranked.
    """

    index: int
    score: float | None


class Said:
    """What was logged before, so that a page whose file is gone is not told of again by every query."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], None] = {}

    def first(self, name: str, why: str) -> bool:
        """Return whether this was not said before; a document's next error is another one."""
        if (name, why) in self._said:
            return False
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[name, why] = None
        return True


class FoundErrors:
    """What is done about bad documents among those that were found.

    Args:
        on_error: Leave them out, put them behind the others, or raise.
        said: What was logged before.

    Raises:
        OptionError: There is no such choice.
    """

    def __init__(self, on_error: OnFoundError, said: Said | None = None) -> None:
        check_choice("on_found_error", on_error, OnFoundError)
        self._on_error = on_error
        self._said = Said() if said is None else said

    def skipping(self, names: Sequence[str]) -> Skipping:
        """Return what is done in one search.

        Args:
            names: What each document that was found is called, for the log.
        """
        return _SkippingFound(self._on_error, names, self._said)

    def placed(self, ranking: Ranking, k: int | None) -> list[Placed]:
        """Return so many documents at most, the best first, with those that could not be ranked where they belong."""
        placed = [Placed(index=each.index, score=each.score) for each in ranking]
        if self._on_error == "last":
            placed += [Placed(index=each.index, score=None) for each in ranking.skipped]
        return placed[:k]


class _SkippingFound(Skipping):
    def __init__(self, on_error: OnFoundError, names: Sequence[str], said: Said) -> None:
        super().__init__("raise" if on_error == "raise" else "skip")
        self._what = "put behind the others" if on_error == "last" else "left out"
        self._names = names
        self._said = said

    def leave_out(self, error: InputError, *, name: str | None = None) -> None:
        if name is None and error.index is not None and not self.raises:
            name = self._names[error.index]
        super().leave_out(error, name=name)

    def _log(self, name: str, why: str) -> None:
        if self._said.first(name, why):
            logger.warning("%s, which was found, cannot be ranked and is %s: %s", name, self._what, why)
