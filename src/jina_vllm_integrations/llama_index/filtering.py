"""Filters that are handed to a vector store of LlamaIndex's: read by it, or refused."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from typing import Any

from llama_index.core.vector_stores.types import BasePydanticVectorStore

from jina_vllm_integrations.errors import OptionError


def check_reads_filters(store: BasePydanticVectorStore) -> None:
    """Check that a vector store reads the filters of its queries.

    LlamaIndex hands them over as an attribute of the query, which a store may leave where it is.

    Raises:
        OptionError: It cannot be seen to read them.
    """
    if not _reads(store):
        raise OptionError(
            f"filters must be read by the vector store, and {type(store).__name__} looks at those of no query: it "
            "would find all nodes. Use a store that filters. If it does all the same, insist on it: pass "
            "retriever=VectorIndexRetriever(index, filters=...) in place of index= and filters=."
        )


def _reads(store: BasePydanticVectorStore) -> bool:
    """Say whether a store reads filters, or one that it holds, as those do that log, cache or choose."""
    held = [*vars(store).values(), *(store.__pydantic_private__ or {}).values()]
    return any(_names_filters(each) for each in _own_classes(type(store))) or any(
        _reads(each) for each in held if isinstance(each, BasePydanticVectorStore) and each is not store
    )


def _own_classes(kind: type) -> list[type[Any]]:
    """Return a store's classes without LlamaIndex's base, which only declares."""
    return [each for each in kind.__mro__ if each not in BasePydanticVectorStore.__mro__]


def _names_filters(kind: type) -> bool:
    try:
        return _reads_attribute(inspect.getsource(kind))
    except (OSError, TypeError, SyntaxError):
        return False


@lru_cache(maxsize=64)
def _reads_attribute(source: str) -> bool:
    nodes = ast.walk(ast.parse(textwrap.dedent(source)))
    return any(isinstance(node, ast.Attribute) and node.attr == "filters" for node in nodes)
