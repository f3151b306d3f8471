"""A vector store finds, late interaction ranks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from jina_vllm_integrations.adapters.document_vectors import LOT, DocumentVectors
from jina_vllm_integrations.adapters.query_vectors import QueryVectors
from jina_vllm_integrations.errors import OptionError, naming, noting
from jina_vllm_integrations.langchain.handover import handed_over
from jina_vllm_integrations.langchain.incoming import ids_of
from jina_vllm_integrations.langchain.rankables import coming_items, items
from jina_vllm_integrations.langchain.searches import Scored
from jina_vllm_integrations.langchain.store_options import check_options
from jina_vllm_integrations.types import TextInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.documents import Document

    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.foundation.skipping import OnError, Skipped
    from jina_vllm_integrations.langchain.embeddings import JinaVLLMEmbeddings
    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import FloatArray, Item, Ranked


class TwoStages:
    """Documents in any vector store of LangChain's, and their token vectors in a `TokenStore`.

    A document's dense and token vectors come from one forward pass, and so do a query's.

    Args:
        vectorstore: Keeps documents and dense vectors.
        embeddings: The store's own.
        token_store: Keeps token vectors; without one, those of what was found are computed for each query.
        images: Which images of documents may be read.
    """

    def __init__(
        self,
        vectorstore: VectorStore,
        embeddings: JinaVLLMEmbeddings,
        token_store: TokenStore | None,
        images: PageImages,
    ) -> None:
        self._store = vectorstore
        self._name = type(vectorstore).__name__
        self._embeddings = embeddings
        self._token_store = token_store
        self._images = images

    def search(self, query: Item, search: Search) -> list[Scored]:
        """Return the best first."""
        self._check_query(query)
        check_options(self._store, self._search, search)
        vectors = QueryVectors.of(query, self._embeddings.encoder(), self._token_store)
        found = _with_ids(self._find(query, vectors.dense, search))
        with _about(found):
            return _scored(found, vectors.ranked(items(found, self._images), search.k))

    async def asearch(self, query: Item, search: Search) -> list[Scored]:
        """Do as `search`, without blocking the event loop."""
        self._check_query(query)
        check_options(self._store, self._search if self._in_thread else self._asearch, search)
        encoder = await asyncio.to_thread(self._embeddings.encoder)
        vectors = await QueryVectors.aof(query, encoder, self._token_store)
        found = _with_ids(await self._afind(query, vectors.dense, search))
        with _about(found):
            candidates = await asyncio.to_thread(items, found, self._images)
            return _scored(found, await vectors.aranked(candidates, search.k))

    def add(self, documents: Sequence[Document], on_error: OnError) -> list[Skipped]:
        """Compute and keep documents, lot after lot, and return those that were skipped."""
        given = coming_items(documents, self._images, on_error)
        vectors = self._vectors(self._embeddings.encoder(), documents, on_error)
        for positions, dense in vectors.compute(given, _lots(documents)):
            coming = [documents[position] for position in positions]
            with self._handed_over(coming, dense):
                self._store.add_documents(coming)
        return vectors.skipped

    async def aadd(self, documents: Sequence[Document], on_error: OnError) -> list[Skipped]:
        """Do as `add`, without blocking the event loop."""
        given = await asyncio.to_thread(coming_items, documents, self._images, on_error)
        vectors = self._vectors(await asyncio.to_thread(self._embeddings.encoder), documents, on_error)
        async with aclosing(vectors.acompute(given, _lots(documents))) as computed:
            async for positions, dense in computed:
                coming = [documents[position] for position in positions]
                with self._handed_over(coming, dense):
                    await self._store.aadd_documents(coming)
        return vectors.skipped

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents that are there."""
        unique = list(dict.fromkeys(ids))  # some stores refuse none and repetitions
        return _with_ids(self._store.get_by_ids(unique)) if unique else []

    async def aget(self, ids: Sequence[str]) -> list[Document]:
        """Do as `get`, without blocking the event loop."""
        unique = list(dict.fromkeys(ids))
        return _with_ids(await self._store.aget_by_ids(unique)) if unique else []

    def delete(self, ids: Sequence[str]) -> None:
        """Delete documents that are there. Token vectors stay: other documents may have the same content."""
        self._store.delete(list(ids))

    async def adelete(self, ids: Sequence[str]) -> None:
        """Do as `delete`, without blocking the event loop."""
        await self._store.adelete(list(ids))

    def _vectors(self, encoder: JinaEncoder, documents: Sequence[Document], on_error: OnError) -> DocumentVectors:
        return DocumentVectors(encoder, self._token_store, on_error=on_error, names=ids_of(documents))

    @property
    def _takes_vectors(self) -> bool:
        return type(self._store).similarity_search_by_vector is not VectorStore.similarity_search_by_vector

    def _check_query(self, query: Item) -> None:
        if not self._takes_vectors and not isinstance(query, str | TextInput):
            raise OptionError(
                f"a store that is searched by an image must have similarity_search_by_vector, {self._name} has not. "
                "Search it by a text, or use another store."
            )

    @property
    def _search(self) -> Callable[..., list[Document]]:
        return self._store.similarity_search_by_vector if self._takes_vectors else self._store.similarity_search

    @property
    def _in_thread(self) -> bool:
        return isinstance(self._store, InMemoryVectorStore)  # whose asynchronous search computes in the event loop

    @property
    def _asearch(self) -> Callable[..., Awaitable[list[Document]]]:
        return self._store.asimilarity_search_by_vector if self._takes_vectors else self._store.asimilarity_search

    def _find(self, query: Item, dense: FloatArray, search: Search) -> list[Document]:
        given = dense.tolist() if self._takes_vectors else _text(query)
        return self._search(given, **_options(search))

    async def _afind(self, query: Item, dense: FloatArray, search: Search) -> list[Document]:
        if self._in_thread:
            return await asyncio.to_thread(self._find, query, dense, search)
        given = dense.tolist() if self._takes_vectors else _text(query)
        return await self._asearch(given, **_options(search))

    def _handed_over(self, documents: Sequence[Document], dense: FloatArray) -> AbstractContextManager[None]:
        texts = [document.page_content for document in documents]
        return handed_over(self._embeddings, dict(zip(texts, dense.tolist(), strict=True)), store=self._name)


def _lots(documents: Sequence[Document]) -> Iterator[range]:
    """Yield lots of documents, each with a text of its own: by its text a store asks for a vector."""
    start = 0
    texts: set[str] = set()
    for position, document in enumerate(documents):
        if len(texts) == LOT or document.page_content in texts:
            yield range(start, position)
            start, texts = position, set()
        texts.add(document.page_content)
    if texts:
        yield range(start, len(documents))


def _with_ids(documents: Iterable[Document]) -> list[Document]:
    """Return documents with their ids, which langchain-qdrant has in the metadata only."""
    return [
        document if document.id else document.model_copy(update={"id": document.metadata.get("_id")})
        for document in documents
    ]


def _options(search: Search) -> dict[str, Any]:
    chosen = {} if search.filter is None else {"filter": search.filter}
    return {**search.options, **chosen, "k": search.fetch_k}


def _text(query: Item) -> str:
    assert isinstance(query, str | TextInput)  # checked before
    return query.text if isinstance(query, TextInput) else query


def _scored(found: Sequence[Document], ranked: Sequence[Ranked]) -> list[Scored]:
    return [Scored(document=found[each.index], score=each.score) for each in ranked]


@contextmanager
def _about(found: Sequence[Document]) -> Iterator[None]:
    """Let an error about what was found say which document it is: the caller passed a query and no positions."""
    with naming(None), noting(lambda index: f"in the document {found[index].id!r}, which the vector store found"):
        yield
