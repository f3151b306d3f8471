"""Retrievers inside of LangChain's runnables, which configure, replace or precede them."""

from __future__ import annotations

import inspect
from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.vectorstores import VectorStoreRetriever


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


def _takes_k(retriever: BaseRetriever, *, asynchronous: bool) -> bool:
    """Return whether a retriever means by the keyword ``k`` how many it returns.

    One that only takes any keyword may hand it on, as a compressing retriever does, whose reranker would then choose
    among ``k`` documents instead of many.
    """
    knows_k = isinstance(retriever, VectorStoreRetriever) or hasattr(retriever, "k")
    method = retriever._aget_relevant_documents if asynchronous else retriever._get_relevant_documents  # noqa: SLF001
    parameters = inspect.signature(method).parameters.values()
    return any(each.name == "k" or (knows_k and each.kind is each.VAR_KEYWORD) for each in parameters)
