"""Any retriever of LangChain's that finds, by whatever means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.langchain.found_documents import as_written, unique
from jina_vllm_integrations.langchain.queries import text_of
from jina_vllm_integrations.langchain.runnables import documents_in, finding, name_of, store_in, takes_images

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.runnables import Runnable
    from langchain_core.vectorstores import VectorStore

    from jina_vllm_integrations.langchain.searches import Search
    from jina_vllm_integrations.types import FloatArray, Query


class RetrieverStage:
    """Any retriever of LangChain's, or any runnable that finds documents.

    Args:
        retriever: Finds by whatever means.
    """

    def __init__(self, retriever: Runnable[Any, Any]) -> None:
        self._retriever = retriever
        self._name = name_of(retriever)

    @property
    def store(self) -> VectorStore:
        """Raise an error: what a retriever searches is not known."""
        raise OptionError(
            f"documents are kept in a vector store, and the first stage is a {self._name}. Pass vectorstore=, or add, "
            "look up and delete them where that retriever finds them."
        )

    def check(self, search: Search) -> None:
        """Check that nothing is chosen which is for that retriever to choose."""
        chosen = ["filter"] if search.filter is not None else []
        chosen += ["search_type"] if search.search_type != "similarity" else []
        if chosen := [*chosen, *search.options]:
            raise OptionError(
                f"{' and '.join(chosen)} must be given to the retriever that is the first stage, a {self._name}: how "
                "it searches is its own choice. Make it with them, such as "
                "vectorstore.as_retriever(search_type='mmr', search_kwargs={'filter': ...}), or pass vectorstore=."
            )

    def check_query(self, query: Query, search: Search, *, asynchronous: bool) -> None:  # noqa: ARG002
        """Check that the retriever is not asked for an image if it knows texts only."""
        if text_of(query) is None and not takes_images(self._retriever):
            raise OptionError(
                f"the retriever that is the first stage, a {self._name}, must be asked by a text, got what has an "
                "image. Pass vectorstore= to search by images; or, if that retriever takes them, "
                "RunnableLambda(lambda query: retriever.invoke(query))."
            )

    def find(self, query: Query, dense: FloatArray, search: Search) -> list[Document]:  # noqa: ARG002
        """Return what the retriever finds, each document once, at most ``fetch_k``."""
        first = self._asked_for(search, asynchronous=False)
        return self._ranked_of(first.invoke(_asked(query)), search)

    async def afind(self, query: Query, dense: FloatArray, search: Search) -> list[Document]:  # noqa: ARG002
        """Do as `find`, by the retriever's asynchronous way."""
        first = self._asked_for(search, asynchronous=True)
        return self._ranked_of(await first.ainvoke(_asked(query)), search)

    def _asked_for(self, search: Search, *, asynchronous: bool) -> Runnable[Any, Any]:
        if search.fetch_k is None:
            return self._retriever
        return finding(self._retriever, search.fetch_k, asynchronous=asynchronous)

    def _ranked_of(self, found: object, search: Search) -> list[Document]:
        """Return what is ranked of what the retriever found."""
        return unique(as_written(documents_in(found), store_in(self._retriever)))[: search.fetch_k]


def _asked(query: Query) -> Query:
    """Return what a retriever knows as a query: a text as ``str``, an image as it is."""
    text = text_of(query)
    return query if text is None else text
