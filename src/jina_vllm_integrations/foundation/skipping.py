"""What to do about a bad item among good ones: raise its error, or leave it out and say so."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from jina_vllm_integrations.foundation.options import check_choice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jina_vllm_integrations.errors import InputError

logger = logging.getLogger(__name__)

OnError: TypeAlias = Literal["raise", "skip"]
"""What to do about an item, a file or a page that is bad."""

OnFoundError: TypeAlias = Literal["skip", "last", "raise"]
"""What to do about a bad document that a search found: leave it out, put it behind those that were ranked, or raise."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An item that was left out, because that was chosen.

    Attributes:
        index: Its position in what the caller passed.
        name: What it is called: its id or file where the caller named it, else ``"item 3"``.
        error: Why. What it says of an image names the image's file or URL, too.
    """

    index: int
    name: str
    error: InputError


class KeptIds(list[str]):
    """The ids of items that were kept, in the items' order.

    Attributes:
        skipped: The items that were left out, because that was chosen: they have no id here.
    """

    def __init__(self, ids: Iterable[str] = (), *, skipped: list[Skipped]) -> None:
        super().__init__(ids)
        self.skipped = skipped


class Skipping:
    """Raises the errors of bad items, or leaves these out: each is logged once as a warning, and listed.

    Args:
        on_error: Which of the two.

    Attributes:
        skipped: What was left out so far.

    Raises:
        OptionError: There is no such choice.
    """

    def __init__(self, on_error: OnError) -> None:
        check_choice("on_error", on_error, OnError)
        self.skipped: list[Skipped] = []
        self.raises = on_error == "raise"

    def leave_out(self, error: InputError, *, name: str | None = None) -> None:
        """Leave an item out, if that was chosen.

        Args:
            error: Why. Its ``index`` is the item's position.
            name: The item's, where its position says less.

        Raises:
            InputError: The error, if that was chosen.
        """
        if self.raises or error.index is None:
            raise error
        name = f"item {error.index}" if name is None else name
        self._log(name, str(error.args[0]))
        self.skipped.append(Skipped(index=error.index, name=name, error=unchained(error)))

    def _log(self, name: str, why: str) -> None:
        logger.warning("skipped %s: %s", name, why)


def unchained(error: InputError) -> InputError:
    """Return an error without what led to it: a list of errors may outlive the call, and must not hold its data."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
