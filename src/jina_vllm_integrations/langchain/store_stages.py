"""A vector store of LangChain's that finds, by similarity or by maximal marginal relevance."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_core.vectorstores import InMemoryVectorStore

from jina_vllm_integrations.adapters.fewer import fewer
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.langchain.found_documents import as_written
from jina_vllm_integrations.langchain.queries import text_of
from jina_vllm_integrations.langchain.store_options import check_options, has_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.documents import Document
    from langchain_core.vectorstores import VectorStore

    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.types import FloatArray, Query

# By a vector, and by a text, where a store has only that.
_SEARCHES = {
    "similarity": ("similarity_search_by_vector", "similarity_search"),
    "mmr": ("max_marginal_relevance_search_by_vector", "max_marginal_relevance_search"),
}
_POOL = 4
"""Of so many documents for each that is wanted, MMR chooses."""


class StoreStage:
    """The search of a vector store of LangChain's, by similarity or by maximal marginal relevance.

    Args:
        store: Has dense vectors of the query's kind.
    """

    def __init__(self, store: VectorStore) -> None:
        self.store = store
        self._name = type(store).__name__

    def check(self, search: Search) -> None:
        """Check that the store searches in this way for a number of documents."""
        if search.fetch_k is None:
            raise OptionError(
                "fetch_k must be a whole number with vectorstore=, got None: a store is asked for a number, and none "
                "says how many it has. Pass one, as large as the collection to rank all of it. None goes with "
                "retriever=."
            )
        if not any(has_own(self.store, method) for method in _SEARCHES[search.search_type]):
            raise OptionError(
                f"search_type='mmr' needs a store with {' or '.join(_SEARCHES['mmr'])}, {self._name} has neither. Use "
                "another store, or search_type='similarity'."
            )
        if search.search_type == "mmr":
            _check_pool(search)

    def check_query(self, query: Query, search: Search, *, asynchronous: bool) -> None:
        """Check that the store is searched by such a query, and reads the options."""
        if not self._takes_vectors(search) and text_of(query) is None:
            raise OptionError(
                f"a store that is searched by an image must have {_SEARCHES[search.search_type][0]}, {self._name} has "
                "not. Search it by a text, or use another store."
            )
        check_options(self.store, self._search(search, asynchronous=asynchronous and not self._in_thread), search)

    def find(self, query: Query, dense: FloatArray, search: Search) -> list[Document]:
        """Return what is most similar, or most diverse; of a store that has fewer, and refuses, those."""
        method = self._search(search, asynchronous=False)
        given = self._given(query, dense, search)
        options, numbers = _options(search), _numbers(search)
        try:
            return as_written(method(given, **options, **numbers), self.store)
        except Exception as refusal:
            for less in _less(refusal, numbers):
                with suppress(type(refusal)):
                    return as_written(method(given, **options, **less), self.store)
            raise

    async def afind(self, query: Query, dense: FloatArray, search: Search) -> list[Document]:
        """Do as `find`, without blocking the event loop."""
        if self._in_thread:
            return await asyncio.to_thread(self.find, query, dense, search)
        method = self._search(search, asynchronous=True)
        given = self._given(query, dense, search)
        options, numbers = _options(search), _numbers(search)
        try:
            return as_written(await method(given, **options, **numbers), self.store)
        except Exception as refusal:
            for less in _less(refusal, numbers):
                with suppress(type(refusal)):
                    return as_written(await method(given, **options, **less), self.store)
            raise

    def _takes_vectors(self, search: Search) -> bool:
        return has_own(self.store, _SEARCHES[search.search_type][0])

    def _search(self, search: Search, *, asynchronous: bool) -> Callable[..., Any]:
        by_vector, by_text = _SEARCHES[search.search_type]
        name = by_vector if self._takes_vectors(search) else by_text
        method: Callable[..., Any] = getattr(self.store, f"a{name}" if asynchronous else name)
        return method

    def _given(self, query: Query, dense: FloatArray, search: Search) -> list[float] | str | None:
        return dense.tolist() if self._takes_vectors(search) else text_of(query)

    @property
    def _in_thread(self) -> bool:
        return isinstance(self.store, InMemoryVectorStore)  # whose asynchronous search computes in the event loop


def _check_pool(search: Search) -> None:
    pool = search.options.get("fetch_k")
    if pool is None or search.fetch_k is None:
        return
    check_count("fetch_k in search_kwargs", pool)
    if pool < search.fetch_k:
        raise OptionError(
            f"fetch_k in search_kwargs is the pool of which MMR chooses, and must be at least the retriever's fetch_k, "
            f"{search.fetch_k}, got {pool}. Enlarge it, or leave it out: it is then {_POOL} times as many."
        )


def _options(search: Search) -> dict[str, Any]:
    chosen = {} if search.filter is None else {"filter": search.filter}
    options = {**search.options, **chosen}
    return {name: value for name, value in options.items() if name not in _numbers(search)}


def _numbers(search: Search) -> dict[str, int]:
    """Return how many documents a store is asked for, and of how many it chooses them."""
    assert search.fetch_k is not None  # checked before
    if search.search_type == "similarity":
        return {"k": search.fetch_k}
    return {"k": search.fetch_k, "fetch_k": search.options.get("fetch_k", _POOL * search.fetch_k)}


def _less(refusal: Exception, numbers: dict[str, int]) -> Iterator[dict[str, int]]:
    """Yield smaller numbers in place of those that a store refused."""
    for number in fewer(refusal, max(numbers.values())):
        yield {name: min(value, number) for name, value in numbers.items()}
