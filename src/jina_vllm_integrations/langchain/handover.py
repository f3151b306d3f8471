"""Vectors for a vector store that takes texts: what it asks its embeddings for was computed before.

LangChain's vector stores are given documents and call ``embed_documents`` with their texts. So an image, or a text
whose token vectors are needed as well, is computed first, and its vector handed over when the store asks for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# What a store computes in other threads by LangChain's means, it computes in a copy of this context.
_current: ContextVar[_Handover | None] = ContextVar("handover", default=None)


class _Handover:
    """What a store is being given.

    Args:
        owner: The embeddings that the store asks; others compute for themselves.
        vectors: The vector of each text.
        store: Its name, for errors.
    """

    def __init__(self, owner: object, vectors: Mapping[str, list[float]], store: str) -> None:
        self.owner: object | None = owner
        self._vectors = vectors
        self._store = store
        self._asked: set[str] = set()

    def take(self, texts: Sequence[str]) -> list[list[float]]:
        for text in texts:
            if text not in self._vectors:
                raise StoreError(
                    f"{self._store} must embed the texts of the documents that it is given, and asked for another: "
                    f"{text!r:.60}. Its vector would not be that of the document. Use a store that embeds page_content "
                    "as it is."
                )
        self._asked.update(texts)
        return [self._vectors[text] for text in texts]

    def check_taken(self) -> None:
        if missing := self._vectors.keys() - self._asked:
            raise StoreError(
                f"{self._store} must ask its embeddings for the vectors of what it is given, and did not for "
                f"{len(missing)} of {len(self._vectors)} documents, such as {min(missing)!r:.60}. Use a store that "
                "embeds on the client, with JinaVLLMEmbeddings, and delete what it has kept of this call."
            )


@contextmanager
def handed_over(owner: object, vectors: Mapping[str, list[float]], *, store: str) -> Iterator[None]:
    """Let embeddings return these vectors within, in this thread or task and in those that copy its context.

    Args:
        owner: The embeddings.
        vectors: The vector of each text that a vector store is about to embed.
        store: The vector store's name.

    Raises:
        StoreError: The store embedded other texts, or did not ask for all of these. It may have kept them.
    """
    handover = _Handover(owner, vectors, store)
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
