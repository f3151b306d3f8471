"""What LlamaIndex's traces are told of a reranking."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index_instrumentation import get_dispatcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import NodeWithScore, QueryBundle

dispatcher = get_dispatcher(__name__)


@dataclass
class Reranking:
    """One call.

    Attributes:
        nodes: What it returns; none as long as that is not known.
    """

    nodes: list[NodeWithScore] = field(default_factory=list)


@contextmanager
def reranking(
    nodes: list[NodeWithScore],
    query: QueryBundle | None,
    *,
    top_n: int | None,
    model_name: str,
    callback_manager: CallbackManager,
) -> Iterator[Reranking]:
    """Tell of a call when it begins and when it ends, however it ends; both as events and as callbacks."""
    call = Reranking()
    top_n = len(nodes) if top_n is None else top_n
    dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model_name))
    payload: dict[str, Any] = {
        EventPayload.NODES: nodes,
        EventPayload.MODEL_NAME: model_name,
        EventPayload.QUERY_STR: "" if query is None else query.query_str,
        EventPayload.TOP_K: top_n,
    }
    try:
        with callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield call
            event.on_end(payload={EventPayload.NODES: call.nodes})
    finally:
        dispatcher.event(ReRankEndEvent(nodes=call.nodes))
