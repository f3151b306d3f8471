"""A vector store finds, late interaction ranks."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_core.vectorstores import VectorStore

from jina_vllm_integrations.errors import InputError, OptionError, StoreError
from jina_vllm_integrations.langchain.handover import handed_over
from jina_vllm_integrations.langchain.incoming import ids_of
from jina_vllm_integrations.langchain.rankables import items
from jina_vllm_integrations.langchain.searches import Scored
from jina_vllm_integrations.positions import naming, renaming
from jina_vllm_integrations.reranking import LateInteractionReranker
from jina_vllm_integrations.token_store.keys import pinned
from jina_vllm_integrations.types import TextInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.documents import Document

    from jina_vllm_integrations.encoder import JinaEncoder
    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.page_images import PageImages
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Embedding, FloatArray, Item, Output, Ranked, Request

# Documents that are written together: a few megabytes of token vectors, while the engine computes the next.
_LOT = 64


class TwoStages:
    """Documents in any vector store of LangChain's, and their token vectors in a `TokenStore`.

    A document's dense and token vectors come from one forward pass, and so do a query's.

    Args:
        vectorstore: Keeps documents and dense vectors.
        encoder: Returns what computes; called when it is first needed.
        token_store: Keeps token vectors; without one, those of what was found are computed for each query.
        images: Which images of documents may be read.
    """

    def __init__(
        self,
        vectorstore: VectorStore,
        encoder: Callable[[], JinaEncoder],
        token_store: TokenStore | None,
        images: PageImages,
    ) -> None:
        self._store = vectorstore
        self._name = type(vectorstore).__name__
        self._encoder = encoder
        self._token_store = token_store
        self._images = images

    def search(self, query: Item, search: Search) -> list[Scored]:
        """Return the best first."""
        self._check_query(query)
        encoder = self._encoder()
        with naming(None):
            (dense,), (tokens,) = encoder.embed_both([query], role="query")
        found = _with_ids(self._find(query, dense, search))
        with _about(found):
            candidates = items(found, self._images)
            return _scored(found, self._reranker(encoder).rerank(tokens, candidates, top_n=search.k))

    async def asearch(self, query: Item, search: Search) -> list[Scored]:
        """Do as `search`, without blocking the event loop."""
        self._check_query(query)
        encoder = await asyncio.to_thread(self._encoder)
        with naming(None):
            (dense,), (tokens,) = await encoder.aembed_both([query], role="query")
        found = _with_ids(await self._afind(query, dense, search))
        with _about(found):
            candidates = await asyncio.to_thread(items, found, self._images)
            return _scored(found, await self._reranker(encoder).arerank(tokens, candidates, top_n=search.k))

    def add(self, documents: Sequence[Document]) -> None:
        """Compute and keep documents, some dozens at a time, while the engine computes the next."""
        encoder = self._encoder()
        pinned_requests: deque[Request] = deque()
        requests = self._requests(encoder, documents)
        embeddings = encoder.compute(_pinned(requests, pinned_requests.append))
        for lot in _lots(documents):
            computed = list(islice(embeddings, len(lot)))
            self._keep_tokens(encoder, [pinned_requests.popleft() for _ in lot], computed)
            try:
                with self._handed_over(lot, computed):
                    self._store.add_documents(lot)
            except StoreError:  # what it kept has other vectors
                self._store.delete(ids_of(lot))
                raise

    async def aadd(self, documents: Sequence[Document]) -> None:
        """Do as `add`, without blocking the event loop."""
        encoder = await asyncio.to_thread(self._encoder)
        requests = iter(await asyncio.to_thread(self._requests, encoder, documents))
        done = 0
        for lot in _lots(documents):
            with renaming(range(done, done + len(lot))):
                asked = await asyncio.to_thread(list, _pinned(islice(requests, len(lot))))
                computed = await encoder.acompute(asked)
            await asyncio.to_thread(self._keep_tokens, encoder, asked, computed)
            try:
                with self._handed_over(lot, computed):
                    await self._store.aadd_documents(lot)
            except StoreError:
                await self._store.adelete(ids_of(lot))
                raise
            done += len(lot)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents that are there."""
        return _with_ids(self._store.get_by_ids(ids))

    async def aget(self, ids: Sequence[str]) -> list[Document]:
        """Do as `get`, without blocking the event loop."""
        return _with_ids(await self._store.aget_by_ids(ids))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete documents that are there. Token vectors stay: other documents may have the same content."""
        self._store.delete(list(ids))

    async def adelete(self, ids: Sequence[str]) -> None:
        """Do as `delete`, without blocking the event loop."""
        await self._store.adelete(list(ids))

    @property
    def _takes_vectors(self) -> bool:
        return type(self._store).similarity_search_by_vector is not VectorStore.similarity_search_by_vector

    def _check_query(self, query: Item) -> None:
        if not self._takes_vectors and not isinstance(query, str | TextInput):
            raise OptionError(
                f"a store that is searched by an image must have similarity_search_by_vector, {self._name} has not. "
                "Search it by a text, or use another store."
            )

    def _find(self, query: Item, dense: FloatArray, search: Search) -> list[Document]:
        options = _options(search)
        if self._takes_vectors:
            return self._store.similarity_search_by_vector(dense.tolist(), **options)
        return self._store.similarity_search(_text(query), **options)

    async def _afind(self, query: Item, dense: FloatArray, search: Search) -> list[Document]:
        options = _options(search)
        if self._takes_vectors:
            return await self._store.asimilarity_search_by_vector(dense.tolist(), **options)
        return await self._store.asimilarity_search(_text(query), **options)

    def _reranker(self, encoder: JinaEncoder) -> LateInteractionReranker:
        return LateInteractionReranker(encoder, self._token_store, normalize="mean")

    def _requests(self, encoder: JinaEncoder, documents: Sequence[Document]) -> list[Request]:
        """Check all documents. Looks at the file system."""
        keeps = self._token_store is not None and not self._token_store.readonly
        output: Output = "both" if keeps else "dense"
        return encoder.requests(items(documents, self._images), role="document", output=output)

    def _keep_tokens(self, encoder: JinaEncoder, requests: Sequence[Request], embeddings: Sequence[Embedding]) -> None:
        tokens = [embedding.tokens for embedding in embeddings if embedding.tokens is not None]
        if self._token_store is not None and tokens:
            keys = self._token_store.keys(encoder, requests)
            self._token_store.put_many(zip(keys, tokens, strict=True))

    def _handed_over(
        self, documents: Sequence[Document], embeddings: Sequence[Embedding]
    ) -> AbstractContextManager[None]:
        vectors = {
            document.page_content: _floats(embedding) for document, embedding in zip(documents, embeddings, strict=True)
        }
        return handed_over(vectors, store=self._name)


def _lots(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Yield documents that are written together, each with a text of its own: by its text a store asks for a vector."""
    lot: dict[str, Document] = {}
    for document in documents:
        if len(lot) == _LOT or document.page_content in lot:
            yield list(lot.values())
            lot = {}
        lot[document.page_content] = document
    if lot:
        yield list(lot.values())


def _pinned(requests: Iterable[Request], note: Callable[[Request], None] = lambda _: None) -> Iterator[Request]:
    """Read images from their files when their turn comes, so that what is hashed is what is embedded."""
    for position, request in enumerate(requests):
        with naming(position):
            fixed = pinned(request)
        note(fixed)
        yield fixed


def _with_ids(documents: Iterable[Document]) -> list[Document]:
    """Return documents with their ids, which langchain-qdrant has in the metadata only."""
    return [
        document if document.id else document.model_copy(update={"id": document.metadata.get("_id")})
        for document in documents
    ]


def _options(search: Search) -> dict[str, Any]:
    chosen = {} if search.filter is None else {"filter": search.filter}
    return {"k": search.fetch_k, **chosen, **search.options}


def _text(query: Item) -> str:
    assert isinstance(query, str | TextInput)  # checked before
    return query.text if isinstance(query, TextInput) else query


def _floats(embedding: Embedding) -> list[float]:
    assert embedding.dense is not None
    floats: list[float] = embedding.dense.tolist()
    return floats


def _scored(found: Sequence[Document], ranked: Sequence[Ranked]) -> list[Scored]:
    return [Scored(document=found[each.index], score=each.score) for each in ranked]


@contextmanager
def _about(found: Sequence[Document]) -> Iterator[None]:
    """Let an error about what was found say which document it is: the caller passed a query and no positions."""
    try:
        yield
    except InputError as error:
        if error.index is not None:
            error.add_note(f"in the document {found[error.index].id!r}, which the vector store found")
        error.index = None
        raise
