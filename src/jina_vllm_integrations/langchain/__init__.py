"""jina-embeddings-v4 in LangChain: texts and page images in any vector store, and candidates in order.

Over an engine of yours, or over one that is made when it is first needed::

    embeddings = JinaVLLMEmbeddings(model="jinaai/jina-embeddings-v4-vllm-retrieval")
    store = InMemoryVectorStore(embeddings)

Needs the extra ``langchain``, which is langchain-core; langchain-community is not used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import MissingExtraError

if TYPE_CHECKING:
    from jina_vllm_integrations.langchain.byte_store import JinaVLLMByteStore
    from jina_vllm_integrations.langchain.embeddings import JinaVLLMEmbeddings
    from jina_vllm_integrations.langchain.loading import PageImageLoader
    from jina_vllm_integrations.langchain.pictures import apage_image, page_image
    from jina_vllm_integrations.langchain.reranking import JinaVLLMRerank
    from jina_vllm_integrations.langchain.retrieving import JinaVLLMRetriever
    from jina_vllm_integrations.langchain.tools import create_page_search_tool

# Their base classes are LangChain's, which is imported when one of them is first asked for.
_HOME_OF = {
    "JinaVLLMByteStore": "byte_store",
    "JinaVLLMEmbeddings": "embeddings",
    "JinaVLLMRerank": "reranking",
    "JinaVLLMRetriever": "retrieving",
    "PageImageLoader": "loading",
    "apage_image": "pictures",
    "create_page_search_tool": "tools",
    "page_image": "pictures",
}

__all__ = [
    "JinaVLLMByteStore",
    "JinaVLLMEmbeddings",
    "JinaVLLMRerank",
    "JinaVLLMRetriever",
    "PageImageLoader",
    "apage_image",
    "create_page_search_tool",
    "page_image",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("langchain_core") is None:
        raise MissingExtraError("langchain_core", extra="langchain")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
