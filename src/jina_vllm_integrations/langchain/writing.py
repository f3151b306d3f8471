"""Documents written into a vector store of LangChain's: what it returns, and whether it keeps them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jina_vllm_integrations.adapters.overwriting import Calls, Doubt, Written
from jina_vllm_integrations.langchain.incoming import ids_of

if TYPE_CHECKING:
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


class Writes:
    """The calls by which documents are written, one portion after the other.

    Args:
        store: The name of what they are written into.

    Attributes:
        ids: Those of what was written, as the store gives them.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._calls = Calls(store)
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
        self.ids += ids
        texts = [document.page_content for document in portion.documents]
        return self._calls.written(Written(ids=ids, marks=texts, texts=texts, vectors=portion.vectors))
