"""Pages that a search found, as an agent's language model sees them.

No framework in it: a framework's tool turns what it finds into `FoundPage`, and each `ShownPage` into its own kind of
content. What is here is the same for all of them: what a text says of a page, how its image comes, what becomes of one
that cannot be had, and what the tool says of itself.
"""

from __future__ import annotations

from jina_vllm_integrations.adapters.page_results.records import FoundPage, ImageMode, NamedImage, ShownPage
from jina_vllm_integrations.adapters.page_results.showing import PageResults
from jina_vllm_integrations.adapters.page_results.tool import PageTool, page_tool
from jina_vllm_integrations.adapters.page_results.wording import NOTHING_FOUND

__all__ = [
    "NOTHING_FOUND",
    "FoundPage",
    "ImageMode",
    "NamedImage",
    "PageResults",
    "PageTool",
    "ShownPage",
    "page_tool",
]
