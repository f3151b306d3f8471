"""A first stage finds, late interaction ranks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.vectorstores import VectorStore

from jina_vllm_integrations.adapters.document_vectors import DocumentVectors, lots_of
from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.adapters.portions import aportions, portions
from jina_vllm_integrations.adapters.query_vectors import QueryVectors
from jina_vllm_integrations.errors import OptionError, StoreError, naming, noting
from jina_vllm_integrations.foundation.skipping import KeptIds
from jina_vllm_integrations.langchain.found_documents import as_written
from jina_vllm_integrations.langchain.handover import handed_over
from jina_vllm_integrations.langchain.incoming import ids_of
from jina_vllm_integrations.langchain.lookups import aget_by_ids, get_by_ids, gets_by_ids
from jina_vllm_integrations.langchain.rankables import coming_items, found_items, names_of, with_note, without_note
from jina_vllm_integrations.langchain.searches import Scored
from jina_vllm_integrations.langchain.stage_runs import astage, ids, ranked_ids, stage
from jina_vllm_integrations.langchain.store_options import has_own
from jina_vllm_integrations.langchain.writing import Portion, Writes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
    from langchain_core.documents import Document

    from jina_vllm_integrations.adapters.found import FoundErrors, Placed
    from jina_vllm_integrations.adapters.overwriting import Doubt
    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.foundation.skipping import OnError
    from jina_vllm_integrations.langchain.embeddings import JinaVLLMEmbeddings
    from jina_vllm_integrations.langchain.first_stages import FirstStage
    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Query


class TwoStages:
    """Documents in any vector store of LangChain's, or in what a retriever searches; token vectors in a `TokenStore`.

    A document's dense and token vectors come from one forward pass, and so do a query's.

    Args:
        first: Finds documents. One over a vector store also says where they are kept.
        embeddings: The store's own; with a retriever, whose token vectors rank.
        token_store: Keeps token vectors; without one, those of what was found are computed for each query.
        images: Which images of documents may be read.
        errors: What is done about bad documents that were found.
    """

    def __init__(
        self,
        first: FirstStage,
        embeddings: JinaVLLMEmbeddings,
        token_store: TokenStore | None,
        images: PageImages,
        errors: FoundErrors,
    ) -> None:
        self._first = first
        self._embeddings = embeddings
        self._token_store = token_store
        self._images = images
        self._errors = errors

    def check(self, search: Search) -> None:
        """Check that the first stage can do what is chosen."""
        self._first.check(search)

    def search(self, query: Query, search: Search, callbacks: CallbackManager) -> list[Scored]:
        """Return the best first, and tell of the stages."""
        self._first.check_query(query, search, asynchronous=False)
        with stage(callbacks, "embed query", lambda: {"query": label(query)}) as told:
            cache = self._embeddings.dense_cache()
            vectors = QueryVectors.of(query, self._embeddings.encoder(), self._token_store, cache)
            told.outputs = _embedded(vectors)
        with stage(callbacks, "find", lambda: {"query": label(query), "fetch_k": search.fetch_k}) as told:
            found = self._first.find(query, vectors.dense, search)
            told.outputs = {"ids": ids(found)}
        with stage(callbacks, "rank", lambda: {"query": label(query), "ids": ids(found)}) as told, _about(found):
            candidates = found_items(found, self._images)
            ranked = vectors.ranked(candidates, search.k, names=names_of(found), errors=self._errors)
            told.outputs = ranked_ids(found, ranked)
        return _scored(found, ranked)

    async def asearch(self, query: Query, search: Search, callbacks: AsyncCallbackManager) -> list[Scored]:
        """Do as `search`, without blocking the event loop."""
        self._first.check_query(query, search, asynchronous=True)
        async with astage(callbacks, "embed query", lambda: {"query": label(query)}) as told:
            encoder = await asyncio.to_thread(self._embeddings.encoder)
            vectors = await QueryVectors.aof(query, encoder, self._token_store, self._embeddings.dense_cache())
            told.outputs = _embedded(vectors)
        async with astage(callbacks, "find", lambda: {"query": label(query), "fetch_k": search.fetch_k}) as told:
            found = await self._first.afind(query, vectors.dense, search)
            told.outputs = {"ids": ids(found)}
        async with astage(callbacks, "rank", lambda: {"query": label(query), "ids": ids(found)}) as told:
            with _about(found):
                candidates = await asyncio.to_thread(found_items, found, self._images)
                ranked = await vectors.aranked(candidates, search.k, names=names_of(found), errors=self._errors)
            told.outputs = ranked_ids(found, ranked)
        return _scored(found, ranked)

    def add(self, documents: Sequence[Document], on_error: OnError) -> KeptIds:
        """Compute and keep documents, and return the ids that the store gave them, and those that were skipped."""
        writes = Writes(self._name)
        given = coming_items(documents, self._images, on_error)
        vectors = self._vectors(self._embeddings.encoder(), documents, on_error)
        for positions, dense in portions(vectors.compute(given, lots_of(len(documents)))):
            coming = self._noted(documents, positions, vectors)
            self._write(writes, Portion(documents=coming, vectors=dense))
        return KeptIds(writes.ids, skipped=vectors.skipped)

    async def aadd(self, documents: Sequence[Document], on_error: OnError) -> KeptIds:
        """Do as `add`, without blocking the event loop."""
        writes = Writes(self._name)
        given = await asyncio.to_thread(coming_items, documents, self._images, on_error)
        vectors = self._vectors(await asyncio.to_thread(self._embeddings.encoder), documents, on_error)
        async with aclosing(aportions(vectors.acompute(given, lots_of(len(documents))))) as computed:
            async for positions, dense in computed:
                coming = self._noted(documents, positions, vectors)
                await self._awrite(writes, Portion(documents=coming, vectors=dense))
        return KeptIds(writes.ids, skipped=vectors.skipped)

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents that are there."""
        self._check_gets()
        unique = list(dict.fromkeys(ids))  # some stores refuse none and repetitions
        return self._as_given(get_by_ids(self._store, unique)) if unique else []

    async def aget(self, ids: Sequence[str]) -> list[Document]:
        """Do as `get`, without blocking the event loop."""
        self._check_gets()
        unique = list(dict.fromkeys(ids))
        return self._as_given(await aget_by_ids(self._store, unique)) if unique else []

    def delete(self, ids: Sequence[str]) -> list[str] | None:
        """Delete documents that are there. Token vectors stay: other documents may have the same content."""
        self._check_deletes()
        there = ids_of(self.get(ids)) if gets_by_ids(self._store) else list(dict.fromkeys(ids))
        if there:
            self._check_deleted(self._store.delete(there))
        return there if gets_by_ids(self._store) else None

    async def adelete(self, ids: Sequence[str]) -> list[str] | None:
        """Do as `delete`, without blocking the event loop."""
        self._check_deletes()
        there = ids_of(await self.aget(ids)) if gets_by_ids(self._store) else list(dict.fromkeys(ids))
        if there:
            self._check_deleted(await self._store.adelete(there))
        return there if gets_by_ids(self._store) else None

    def _write(self, writes: Writes, portion: Portion) -> None:
        with self._handed_over(portion):
            kept = self._store.add_documents(portion.documents, ids=ids_of(portion.documents))
        if (doubt := writes.written(portion, kept)) is not None:
            doubt.check(self._again(doubt))

    async def _awrite(self, writes: Writes, portion: Portion) -> None:
        with self._handed_over(portion):
            kept = await self._store.aadd_documents(portion.documents, ids=ids_of(portion.documents))
        if (doubt := writes.written(portion, kept)) is not None:
            doubt.check(await asyncio.to_thread(self._again, doubt))

    def _again(self, doubt: Doubt) -> list[str]:
        """Return the texts of what the store has of what was written before the last call."""
        return [document.page_content for document in self._looked_for(doubt)]

    def _looked_for(self, doubt: Doubt) -> list[Document]:
        if gets_by_ids(self._store):
            return get_by_ids(self._store, doubt.names)
        if has_own(self._store, "similarity_search_by_vector"):
            return self._store.similarity_search_by_vector(doubt.vector.tolist(), k=1)
        return self._store.similarity_search(doubt.text, k=1)

    def _check_gets(self) -> None:
        if not gets_by_ids(self._store):
            raise OptionError(
                f"documents are looked up by the store's get_by_ids, {self._name} has none. Search for them, or use a "
                "store that has it."
            )

    def _check_deletes(self) -> None:
        if type(self._store).delete is VectorStore.delete and type(self._store).adelete is VectorStore.adelete:
            raise OptionError(
                f"documents are deleted by the store's delete, {self._name} has none. Use a store that has it, or make "
                "it anew without them."
            )

    def _check_deleted(self, done: bool | None) -> None:  # noqa: FBT001 - the store's answer
        if done is False:
            raise StoreError(f"{self._name} must delete what it is told to, and says that it did not.")

    def _vectors(self, encoder: JinaEncoder, documents: Sequence[Document], on_error: OnError) -> DocumentVectors:
        return DocumentVectors(
            encoder,
            self._token_store,
            on_error=on_error,
            names=ids_of(documents),
            cache=self._embeddings.dense_cache(),
        )

    def _noted(
        self, documents: Sequence[Document], positions: Sequence[int], vectors: DocumentVectors
    ) -> list[Document]:
        return [with_note(documents[at], vectors.contents.get(at), self._images) for at in positions]

    def _as_given(self, documents: Iterable[Document]) -> list[Document]:
        """Return documents with their ids, and without what we noted in them."""
        return [without_note(document) for document in as_written(documents, self._store)]

    @property
    def _store(self) -> VectorStore:
        return self._first.store

    @property
    def _name(self) -> str:
        return type(self._store).__name__

    def _handed_over(self, portion: Portion) -> AbstractContextManager[None]:
        texts = [document.page_content for document in portion.documents]
        return handed_over(self._embeddings, texts, portion.vectors, store=self._name)


def _embedded(vectors: QueryVectors) -> dict[str, Any]:
    return {"dimensions": len(vectors.dense), "tokens": vectors.n_tokens}


def _scored(found: Sequence[Document], ranked: Sequence[Placed]) -> list[Scored]:
    return [Scored(document=without_note(found[each.index]), score=each.score) for each in ranked]


@contextmanager
def _about(found: Sequence[Document]) -> Iterator[None]:
    """Let an error about what was found say which document it is: the caller passed a query and no positions."""
    with naming(None), noting(lambda index: f"in the document {found[index].id!r}, which was found"):
        yield
