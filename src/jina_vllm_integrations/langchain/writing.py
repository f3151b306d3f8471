"""Documents written into a vector store of LangChain's: what it returns, and whether it keeps them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.vectorstores import VectorStore

from jina_vllm_integrations.adapters.portions import PORTION
from jina_vllm_integrations.errors import StoreError
from jina_vllm_integrations.langchain.incoming import ids_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.documents import Document

    from jina_vllm_integrations.types import FloatArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What one call writes.

    Attributes:
        documents: With their ids.
        vectors: One a document. *Shape:* ``(len(documents), dimensions)``, float32, L2-normalised.
    """

    documents: list[Document]
    vectors: FloatArray


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A document that an earlier call wrote: is it still there after the next?

    Attributes:
        names: Its id, as the store gave it, and one of what was written last.
        text: Of it.
        vector: Of it.
        last: The texts of what was written last.
        store: The store's name.
    """

    names: tuple[str, str]
    text: str
    vector: FloatArray
    last: frozenset[str]
    store: str

    def check(self, found: Sequence[Document]) -> None:
        """Raise an error if what the store found, by the ids or the document's vector, is of the last call only.

        Nothing at all is no sign: some stores find later what was written now.

        Raises:
            StoreError: It is.
        """
        if not found or not self.last.issuperset(each.page_content for each in found):
            return
        raise StoreError(
            f"{self.store} must keep what is there when more is added, and after a second call the first one's "
            f"{self.names[0]!r} is gone: each call overwrites. Make the store so that it appends (LanceDB: "
            f"mode='append'), and add all again; or add at most {PORTION:,} documents."
        )


class Writes:
    """The calls by which documents are written, one portion after the other.

    Args:
        store: The name of what they are written into.

    Attributes:
        ids: Those of what was written, as the store gives them.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._first: Portion | None = None
        self._told = False
        self.ids: list[str] = []

    def written(self, portion: Portion, kept: object) -> Doubt | None:
        """Note the ids that a store returned for a portion, and return what of an earlier one is to be looked for.

        Args:
            portion: What was written.
            kept: What the store returned. Some return nothing.
        """
        given = ids_of(portion.documents)
        ids = list(kept) if isinstance(kept, list | tuple) and len(kept) == len(given) else given
        if ids != given and not self._told:
            self._told = True
            logger.warning(
                "%s keeps documents under ids of its own, not those that it is given: %r is %r. Delete them by the ids "
                "that are returned.",
                self._store,
                given[0],
                ids[0],
            )
        doubt = None if self._first is None else self._doubt(self._first, portion, ids)
        self._first = portion if self._first is None else self._first
        self.ids += ids
        return doubt

    def _doubt(self, first: Portion, last: Portion, ids: Sequence[str]) -> Doubt | None:
        texts = frozenset(document.page_content for document in last.documents)
        for place, document in enumerate(first.documents):
            if document.page_content not in texts:
                return Doubt(
                    names=(self.ids[place], ids[-1]),
                    text=document.page_content,
                    vector=first.vectors[place],
                    last=texts,
                    store=self._store,
                )
        return None


def gets_by_ids(store: VectorStore) -> bool:
    """Say whether a store looks documents up by their ids."""
    kind = type(store)
    return kind.get_by_ids is not VectorStore.get_by_ids or kind.aget_by_ids is not VectorStore.aget_by_ids
