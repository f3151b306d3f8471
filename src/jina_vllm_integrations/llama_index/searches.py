"""What a retriever is asked, and what keeps and finds its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

    from jina_vllm_integrations.foundation.skipping import OnError, Skipped


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a query is answered.

    Attributes:
        query: A text, an image, or both.
        k: How many nodes to return at most.
        fetch_k: How many to find in the first stage, and rank; ``None`` for what it finds.
        filters: Which may be found, as the first stage has it; ``None`` for all.
        callback_manager: Who is told of the stages.
    """

    query: QueryBundle
    k: int
    fetch_k: int | None
    filters: Any
    callback_manager: CallbackManager


class NodeIndex(Protocol):
    """Keeps nodes, texts and page images, and finds them in two stages."""

    def search(self, search: Search) -> list[NodeWithScore]:
        """Return copies, the best first, with MaxSim over the number of the query's tokens."""

    async def asearch(self, search: Search) -> list[NodeWithScore]:
        """Do as `search`, without blocking the event loop."""

    def insert(self, nodes: Sequence[BaseNode], on_error: OnError) -> list[Skipped]:
        """Compute and keep nodes, and return those that were skipped."""

    async def ainsert(self, nodes: Sequence[BaseNode], on_error: OnError) -> list[Skipped]:
        """Do as `insert`, without blocking the event loop."""

    def delete(self, node_ids: Sequence[str]) -> None:
        """Delete nodes."""

    async def adelete(self, node_ids: Sequence[str]) -> None:
        """Do as `delete`, without blocking the event loop."""
