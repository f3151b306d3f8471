"""Options of a search that are handed to a vector store: read by it, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.vectorstores import VectorStore

from jina_vllm_integrations.adapters.keywords import Keywords
from jina_vllm_integrations.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_vllm_integrations.langchain.searches import Search

# What stores call it that do not call it ``filter``. A name with "filter" in it counts as well.
_FILTERS = ("expr", "where", "where_str", "where_document", "predicates", "metadata")


def has_own(store: VectorStore, method: str) -> bool:
    """Say whether a store has a method of its own, as LangChain's base class has all and raises in most."""
    return getattr(type(store), method) is not getattr(VectorStore, method)


def check_options(store: VectorStore, method: Callable[..., Any], search: Search) -> None:
    """Check that a vector store's search reads what it is about to be given.

    Most of LangChain's stores take ``**kwargs`` and ignore what they do not know, a filter too.

    Args:
        store: The vector store.
        method: Its search.
        search: With ``filter``, and options of this call, which must be known to be read; and with the retriever's
            ``search_kwargs``, which may also go to where that cannot be seen.

    Raises:
        OptionError: An option would not be read.
    """
    if search.filter is None and not search.options:
        return
    known = Keywords.of(method)
    where = f"{method.__name__} of {type(store).__name__}"
    if search.filter is not None and "filter" not in known.names:
        raise OptionError(f"filter= must be read by the vector store's search: {where} {_no_filter(known)}")
    for name in search.options:
        if name in known.names or (name not in search.per_call and not known.closed):
            continue
        reads = ", ".join(sorted(known.names - {"self", "k", "embedding", "query"})) or "no options"
        if known.closed:
            remedy = f"{where} does not; it reads {reads}. Use one of those, or leave it out."
        else:
            remedy = (
                f"{where} reads {reads}, and passes on what it does not know. If that is read, insist on it by the "
                f"retriever's search_kwargs={{{name!r}: ...}}."
            )
        raise OptionError(f"{name}= must be read by the vector store's search: {remedy}")


def _no_filter(known: Keywords) -> str:
    own = sorted(name for name in known.names if name in _FILTERS or "filter" in name)
    if own:
        return (
            f"has {' and '.join(own)} in its place. Pass that in its stead, for a call as {own[0]}=..., for all in "
            "search_kwargs."
        )
    if known.closed:
        return "reads none and would find all documents. Use a store that filters, or filter what comes back."
    return (
        "has no such parameter, and passes on what it does not know. If a filter is read there, insist on it by "
        "search_kwargs={'filter': ...}."
    )
