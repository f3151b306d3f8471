"""Retrievers inside of LangChain's runnables, which configure, replace or precede them."""

from __future__ import annotations

import inspect
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.langchain.page_documents import PageDocuments


def check_retriever(retriever: object) -> None:
    """Raise `OptionError` for what is no runnable."""
    if not isinstance(retriever, Runnable):
        raise OptionError(
            f"retriever must be a retriever of LangChain's, or a runnable that finds documents, got "
            f"{type(retriever).__name__}. Of a vector store, pass store.as_retriever()."
        )


def retriever_in(runnable: Runnable[Any, Any]) -> BaseRetriever | None:
    """Return the retriever that a runnable asks, of several the one that it asks first or last in a row."""
    match runnable:
        case BaseRetriever():
            return runnable
        case RunnableBindingBase():
            return retriever_in(runnable.bound)
        case DynamicRunnable():
            return retriever_in(runnable.default)
        case RunnableWithFallbacks():
            return retriever_in(runnable.runnable)
        case RunnableSequence():
            return next((found for step in reversed(runnable.steps) if (found := retriever_in(step))), None)
    return None


def store_in(runnable: Runnable[Any, Any]) -> VectorStore | None:
    """Return the vector store that all comes from which a runnable finds, where that is certain."""
    match runnable:
        case VectorStoreRetriever():
            return runnable.vectorstore
        case RunnableBindingBase():
            return store_in(runnable.bound)
        case RunnableSequence():
            return store_in(runnable.last)
    return None


def finding(runnable: Runnable[Any, Any], k: int, *, asynchronous: bool) -> Runnable[Any, Any]:
    """Return a runnable that finds so many documents, where it ends in a retriever that takes a number.

    What the caller has bound holds.

    Args:
        runnable: Any.
        k: How many.
        asynchronous: Which of its ways will be called; some retrievers take a number one way only.
    """
    match runnable:
        case BaseRetriever() | DynamicRunnable():  # the latter makes another one for each call, which takes the same
            retriever = retriever_in(runnable)
            takes_k = retriever is not None and _takes_k(retriever, asynchronous=asynchronous)
            return runnable.bind(k=k) if takes_k else runnable
        case RunnableBindingBase():
            return runnable.model_copy(update={"bound": finding(runnable.bound, k, asynchronous=asynchronous)})
        case RunnableWithFallbacks():
            first, *others = (finding(each, k, asynchronous=asynchronous) for each in runnable.runnables)
            return runnable.model_copy(update={"runnable": first, "fallbacks": others})
        case RunnableSequence():
            return runnable.model_copy(update={"last": finding(runnable.last, k, asynchronous=asynchronous)})
    return runnable


def documents_in(found: object) -> list[Document]:
    """Return what a runnable found.

    Raises:
        OptionError: It found something else than documents.
    """
    if isinstance(found, list) and all(isinstance(each, Document) for each in found):
        return found
    raise OptionError(
        f"a retriever must return a list of documents, got {type(found).__name__} {found!r:.60}. Pass a retriever, or "
        "a chain that ends in one."
    )


def name_of(runnable: Runnable[Any, Any]) -> str:
    """Return what a runnable is called in errors: by its retriever, if it has one."""
    return type(retriever_in(runnable) or runnable).__name__


def takes_images(runnable: Runnable[Any, Any]) -> bool:
    """Say whether a runnable may be asked by an image.

    LangChain's retrievers are asked by texts, and so are prompts; ours, and functions, by what they are given.
    """
    match runnable:
        case BaseRetriever():
            return isinstance(runnable, PageDocuments)
        case RunnableBindingBase():
            return takes_images(runnable.bound)
        case DynamicRunnable():
            return takes_images(runnable.default)
        case RunnableWithFallbacks():
            return all(takes_images(each) for each in runnable.runnables)
        case RunnableSequence():
            return takes_images(runnable.first)
    return isinstance(runnable, RunnableLambda)


def _takes_k(retriever: BaseRetriever, *, asynchronous: bool) -> bool:
    """Return whether a retriever means by the keyword ``k`` how many it returns.

    One that only takes any keyword may hand it on, as a compressing retriever does, whose reranker would then choose
    among ``k`` documents instead of many.
    """
    knows_k = isinstance(retriever, VectorStoreRetriever) or hasattr(retriever, "k")
    method = retriever._aget_relevant_documents if asynchronous else retriever._get_relevant_documents  # noqa: SLF001
    parameters = inspect.signature(method).parameters.values()
    return any(each.name == "k" or (knows_k and each.kind is each.VAR_KEYWORD) for each in parameters)
