"""What LlamaIndex's observers hear of embeddings, texts and images alike."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index_instrumentation import get_dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding

_dispatcher = get_dispatcher(__name__)


@contextmanager
def embedding_events(model: BaseEmbedding) -> Iterator[Callable[[Sequence[str], list[Embedding]], None]]:
    """Report a batch: its start now, and its end when what this yields is called with labels and vectors.

    If it fails there is no end event, as with LlamaIndex's own: its span is dropped with the error.
    """
    payload = model.to_payload()
    _dispatcher.event(EmbeddingStartEvent(model_dict=payload))
    with model.callback_manager.event(CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: payload}) as event:

        def end(labels: Sequence[str], vectors: list[Embedding]) -> None:
            ended: dict[str, Any] = {EventPayload.CHUNKS: list(labels), EventPayload.EMBEDDINGS: vectors}
            event.on_end(payload=ended)
            _dispatcher.event(EmbeddingEndEvent(chunks=list(labels), embeddings=vectors))

        yield end
