"""What a retriever is asked, and what keeps and finds its documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
    from langchain_core.documents import Document

    from jina_vllm_integrations.foundation.skipping import KeptIds, OnError
    from jina_vllm_integrations.types import Query

SearchType: TypeAlias = Literal["similarity", "mmr"]
"""By similarity alone, or by maximal marginal relevance, which prefers documents unlike those before them."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a query is answered.

    Attributes:
        k: How many documents to return at most.
        fetch_k: How many to find in the first stage, and rank; ``None`` for what it finds.
        filter: Which may be found, as the vector store has it; ``None`` for all.
        options: What else the vector store takes.
        per_call: Which of these were given with the query, and are not the retriever's.
        search_type: How a vector store finds.
    """

    k: int
    fetch_k: int | None
    filter: Any
    options: Mapping[str, Any]
    per_call: frozenset[str] = frozenset()
    search_type: SearchType = "similarity"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A document that was found.

    Attributes:
        document: As it is kept.
        score: MaxSim over the number of the query's tokens, from -1 to 1; ``None`` for one that could not be ranked.
    """

    document: Document
    score: float | None


class PageIndex(Protocol):
    """Keeps documents, texts and page images, and finds them in two stages. Each has an id."""

    def check(self, search: Search) -> None:
        """Check that what is chosen for a search can be done.

        Raises:
            OptionError: It cannot.
        """

    def search(self, query: Query, search: Search, callbacks: CallbackManager) -> list[Scored]:
        """Return the best first, and tell of the stages."""

    async def asearch(self, query: Query, search: Search, callbacks: AsyncCallbackManager) -> list[Scored]:
        """Do as `search`, without blocking the event loop."""

    def add(self, documents: Sequence[Document], on_error: OnError) -> KeptIds:
        """Compute and keep documents, and return their ids where they are kept, and those that were skipped."""

    async def aadd(self, documents: Sequence[Document], on_error: OnError) -> KeptIds:
        """Do as `add`, without blocking the event loop."""

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents that are there."""

    async def aget(self, ids: Sequence[str]) -> list[Document]:
        """Do as `get`, without blocking the event loop."""

    def delete(self, ids: Sequence[str]) -> list[str] | None:
        """Delete documents that are there, and return their ids; ``None`` where it cannot be told which were there."""

    async def adelete(self, ids: Sequence[str]) -> list[str] | None:
        """Do as `delete`, without blocking the event loop."""
