"""Stores that are written in several calls: does each call keep what an earlier one wrote?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_vllm_integrations.adapters.portions import PORTION
from jina_vllm_integrations.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.types import FloatArray

# Cosine from which on a search may find either of two.
_ALIKE = 0.999
# How many of the first call are looked at for one that nothing of the last is like: blank pages are like each other.
_LOOKED_AT = 64


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one call wrote.

    Attributes:
        ids: Of each document, as the store has them.
        marks: By what a document is known when it is found: its text or its id.
        texts: Of each document.
        vectors: One a document. *Shape:* ``(len(ids), dimensions)``, float32, L2-normalised.
    """

    ids: Sequence[str]
    marks: Sequence[str]
    texts: Sequence[str]
    vectors: FloatArray

    def beginning(self) -> Written:
        """Return as much of it as is looked at later."""
        some = slice(_LOOKED_AT)
        return Written(
            ids=self.ids[some], marks=self.marks[some], texts=self.texts[some], vectors=self.vectors[some].copy()
        )


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A document that an earlier call wrote: is it still there after the last?

    Attributes:
        names: Its id, as the store gave it, and one of what was written last.
        text: Of it.
        vector: Of it. *Shape:* ``(dimensions,)``, float32, L2-normalised.
        last: The marks of what was written last.
        store: The store's name.
    """

    names: tuple[str, str]
    text: str
    vector: FloatArray
    last: frozenset[str]
    store: str

    def check(self, found: Iterable[str]) -> None:
        """Raise an error if what the store found, by the ids or the document's vector, is of the last call only.

        Nothing at all is no sign: some stores find later what was written now.

        Args:
            found: The marks of what was found.

        Raises:
            StoreError: It is.
        """
        marks = set(found)
        if not marks or not marks <= self.last:
            return
        raise StoreError(
            f"{self.store} must keep what is there when more is added, and after a second call the first one's "
            f"{self.names[0]!r} is gone: each call overwrites. Make the store so that it appends (LangChain's LanceDB: "
            f"mode='append'), and add all again; or add at most {PORTION:,} documents."
        )


class Calls:
    """The calls by which documents are written, one portion after the other.

    Args:
        store: The name of what they are written into.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._first: Written | None = None

    def written(self, call: Written) -> Doubt | None:
        """Note a call, and return what of the first is to be looked for; ``None`` for the first."""
        if self._first is None:
            self._first = call.beginning()
            return None
        return self._doubt(self._first, call)

    def _doubt(self, first: Written, last: Written) -> Doubt | None:
        marks = frozenset(last.marks)
        for place, mark in enumerate(first.marks):
            if mark not in marks and (last.vectors @ first.vectors[place]).max() < _ALIKE:
                return Doubt(
                    names=(first.ids[place], last.ids[-1]),
                    text=first.texts[place],
                    vector=first.vectors[place],
                    last=marks,
                    store=self._store,
                )
        return None
