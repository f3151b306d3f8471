"""What finds the documents that late interaction ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.vectorstores import VectorStore

    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.types import FloatArray, Query


class FirstStage(Protocol):
    """Finds documents for a query."""

    @property
    def store(self) -> VectorStore:
        """Where documents are kept.

        Raises:
            OptionError: It cannot be told.
        """

    def check(self, search: Search) -> None:
        """Check that what is chosen for a search can be done.

        Raises:
            OptionError: It cannot.
        """

    def check_query(self, query: Query, search: Search, *, asynchronous: bool) -> None:
        """Check, before anything is computed, that it can be searched for a query in this way.

        Raises:
            OptionError: It cannot.
        """

    def find(self, query: Query, dense: FloatArray, search: Search) -> list[Document]:
        """Return what is found for a query, which has a dense vector. *Shape:* ``(dimensions,)``."""

    async def afind(self, query: Query, dense: FloatArray, search: Search) -> list[Document]:
        """Do as `find`, without blocking the event loop."""
