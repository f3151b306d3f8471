"""Vectors for a vector store that takes texts: what it asks its embeddings for was computed before.

LangChain's vector stores are given documents and call ``embed_documents`` with their texts. So an image, or a text
whose token vectors are needed as well, is computed first, and its vector handed over when the store asks for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_vllm_integrations.types import FloatArray

# What a store computes in other threads by LangChain's means, it computes in a copy of this context.
_current: ContextVar[_Handover | None] = ContextVar("handover", default=None)

_ALIKE = 0.999
"""Cosine from which on it does not matter which of two vectors a store gets."""


class _Handover:
    """What a store is being given.

    Documents may have equal texts and different vectors, as pages without a text have. Those are told apart by their
    place among the others: a store asks for all texts at once, or for one batch after the other.

    Args:
        owner: The embeddings that the store asks; others compute for themselves.
        texts: Of the documents.
        vectors: One a text. *Shape:* ``(len(texts), dimensions)``, L2-normalised.
        store: Its name, for errors.
    """

    def __init__(self, owner: object, texts: Sequence[str], vectors: FloatArray, store: str) -> None:
        self.owner: object | None = owner
        self._texts = list(texts)
        self._vectors = vectors
        self._store = store
        self._places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            self._places.setdefault(text, []).append(place)
        self._shared = {text for text, places in self._places.items() if self._differ(places)}
        self._taken: set[int] = set()
        self._next = 0
        self._lock = Lock()

    def take(self, texts: Sequence[str]) -> list[list[float]]:
        texts = list(texts)
        for text in texts:
            if text not in self._places:
                raise StoreError(
                    f"{self._store} must embed the texts of the documents that it is given, and asked for another: "
                    f"{text!r:.60}. Its vector would not be that of the document. Use a store that embeds page_content "
                    "as it is."
                )
        with self._lock:
            places = self._places_of(texts)
            self._taken.update(places)
        return [self._vectors[place].tolist() for place in places]

    def check_taken(self) -> None:
        reached = {self._texts[place] for place in self._taken} - self._shared
        missing = [text for place, text in enumerate(self._texts) if place not in self._taken and text not in reached]
        if missing:
            raise StoreError(
                f"{self._store} must ask its embeddings for the vectors of what it is given, and did not for "
                f"{len(missing)} of {len(self._texts)} documents, such as {min(missing)!r:.60}. Use a store that "
                "embeds on the client, with JinaVLLMEmbeddings, and delete what it has kept of this call."
            )

    def _places_of(self, texts: list[str]) -> Sequence[int]:
        """Return which documents texts are of: all, the next ones, or any with these texts where it does not matter."""
        if texts == self._texts:
            return range(len(texts))
        if self._texts[self._next : self._next + len(texts)] == texts:
            self._next += len(texts)
            return range(self._next - len(texts), self._next)
        if shared := self._shared.intersection(texts):
            raise StoreError(
                f"{self._store} must ask for the texts of documents in their order where several have the same, and "
                f"did not for {min(shared)!r:.60}: it cannot be told whose vector is meant. Give them texts of their "
                "own, as PageImageLoader does, and delete what the store has kept of this call."
            )
        return [self._places[text][0] for text in texts]

    def _differ(self, places: Sequence[int]) -> bool:
        first, *others = places
        return bool(others) and bool((self._vectors[others] @ self._vectors[first]).min() < _ALIKE)


@contextmanager
def handed_over(owner: object, texts: Sequence[str], vectors: FloatArray, *, store: str) -> Iterator[None]:
    """Let embeddings return these vectors within, in this thread or task and in those that copy its context.

    Args:
        owner: The embeddings.
        texts: What a vector store is about to embed, in this order.
        vectors: One a text. *Shape:* ``(len(texts), dimensions)``, L2-normalised.
        store: The vector store's name.

    Raises:
        StoreError: The store embedded other texts, equal ones out of order, or did not ask for all of these. It may
            have kept them.
    """
    handover = _Handover(owner, texts, vectors, store)
    token = _current.set(handover)
    try:
        yield
    finally:
        _current.reset(token)
        handover.owner = None  # a task that the store has started lives on in a copy of this context
    handover.check_taken()


def taken_over(owner: object, texts: Sequence[str]) -> list[list[float]] | None:
    """Return the vectors that were handed over to embeddings for texts; ``None`` where nothing is being handed over.

    Raises:
        StoreError: Something is, but one of the texts is none of it.
    """
    handover = _current.get()
    return None if handover is None or handover.owner is not owner else handover.take(texts)
