"""jina-embeddings-v4 in LlamaIndex: texts and page images in any index, and candidates in order.

Needs the extra ``llama-index``, which is llama-index-core.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import MissingExtraError

if TYPE_CHECKING:
    from jina_vllm_integrations.llama_index.embedding import JinaVLLMEmbedding
    from jina_vllm_integrations.llama_index.pictures import apage_image, page_image
    from jina_vllm_integrations.llama_index.queries import query_bundle
    from jina_vllm_integrations.llama_index.reading import PageImageReader
    from jina_vllm_integrations.llama_index.reranking import JinaVLLMRerank
    from jina_vllm_integrations.llama_index.retrieving import JinaVLLMMultiVectorRetriever
    from jina_vllm_integrations.llama_index.showing import PageImagePostprocessor
    from jina_vllm_integrations.llama_index.tools import create_page_search_tool

# Their base classes are LlamaIndex's, which is imported when one of them is first asked for.
_HOME_OF: dict[str, str] = {
    "JinaVLLMEmbedding": "embedding",
    "JinaVLLMMultiVectorRetriever": "retrieving",
    "JinaVLLMRerank": "reranking",
    "PageImagePostprocessor": "showing",
    "PageImageReader": "reading",
    "apage_image": "pictures",
    "create_page_search_tool": "tools",
    "page_image": "pictures",
    "query_bundle": "queries",
}

__all__ = [
    "JinaVLLMEmbedding",
    "JinaVLLMMultiVectorRetriever",
    "JinaVLLMRerank",
    "PageImagePostprocessor",
    "PageImageReader",
    "apage_image",
    "create_page_search_tool",
    "page_image",
    "query_bundle",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
        raise MissingExtraError("llama_index.core", extra="llama-index")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
