"""A tool with which an agent searches pages, and sees them."""

# LangChain reads the annotations of this module's methods, so they are not postponed.
import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.messages.content import TextContentBlock
from langchain_core.runnables import Runnable
from langchain_core.tools import StructuredTool

from jina_vllm_integrations.adapters.page_results import NOTHING_FOUND, ImageMode, PageResults, page_tool
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.langchain.page_blocks import Block, blocks, found_page
from jina_vllm_integrations.langchain.runnables import check_retriever, documents_in, finding, retriever_in

_Found: TypeAlias = tuple[list[Block], list[Document]]
"""What the model sees, and what the program gets."""


def create_page_search_tool(
    retriever: Runnable[str, list[Document]],
    *,
    image_mode: ImageMode = "blocks",
    name: str = "search_pages",
    description: str | None = None,
    k: int = 4,
    max_k: int = 10,
    max_characters: int = 2000,
    thumbnail_side: int = 1024,
    thumbnail_bytes: int = 512 * 1024,
    image_url: Callable[[Document], str | None] | None = None,
    image_keys: Iterable[str] | None = None,
    allowed_image_roots: Iterable[str | Path] | None = None,
    allow_image_urls: bool | None = None,
    image_limits: ImageLimits | None = None,
) -> StructuredTool:
    """Make a tool with which an agent searches pages, and sees them.

    The tool takes a ``query`` and, if the model wants another number of pages, ``k``. It answers with one text block a
    page: its rank, ``metadata["source"]``, the page's number (of ``metadata["page"]``, which counts from 0), its
    ``relevance_score`` and the beginning of its text; and by ``image_mode`` with the page's image. The documents
    themselves are the artifact, in the same order. It has no state: threads and event loops may share it, and
    asynchronous calls make thumbnails in a thread.

    A page whose image cannot be had is shown without, its text says why in a few words, and the log in full. Whatever
    the retriever or ``image_url`` raises ends the call.

    Args:
        retriever: Any retriever of LangChain's, or any other runnable that takes a text and returns documents: one
            with a configuration, configurable fields or fallbacks, or a chain that ends in one. ``k`` is passed on to
            `JinaVLLMRetriever`, to a `VectorStoreRetriever`, and to what else has a ``k`` and takes another when it is
            invoked; the rest decide how many they return. The first ``k`` that come back are shown.
        image_mode: ``"blocks"``: a thumbnail, for models that take images in a tool's answer. ``"url"``: an image
            block with an http or https URL, which is not fetched here but by whoever runs the model. ``"reference"``:
            a line with the image's path or URL, which the agent may open with a tool of its own; only of what may be
            read. ``"none"``: text alone.
        name: The tool's, for the model.
        description: What the model is told of the tool; left out, a text that fits any collection. Say what is in
            yours.
        k: How many pages to show, unless the model asks for another number.
        max_k: How many it may ask for.
        max_characters: How much of a page's text to show; 0 for none.
        thumbnail_side: The longest, in pixels. With 1,024 an A4 page has 87 dots an inch: print of 7 points is still
            legible, and a page costs a model about as much as 1,000 tokens.
        thumbnail_bytes: Of a thumbnail as JPEG, of which base64 makes a third more. What has more is made smaller. A
            page full of text has about 250 kB.
        image_url: Returns the URL of a document's image for ``"url"``, and what names it for ``"reference"``: say a
            path as the agent's own tool knows it. ``None`` for a document without one. Left out, it is what metadata
            has.
        image_keys: Where metadata may name an image; the first that is there counts. Left out, like the three that
            follow, it is what the retriever has, also inside of another runnable, as `JinaVLLMRetriever`, and else
            ``"image_uri"``.
        allowed_image_roots: The folders whose files metadata may name. None, if the retriever does not say otherwise.
        allow_image_urls: Fetch http and https URLs that metadata names, from public addresses only. Not done, if the
            retriever does not say otherwise.
        image_limits: What an image may cost.

    Returns:
        A tool for ``create_agent(model, [tool])``, LangGraph's ``ToolNode`` and ``model.bind_tools([tool])``.

    Raises:
        OptionError: No retriever, or a value that does not exist or does not fit.

    Example:
        >>> tool = create_page_search_tool(retriever, allowed_image_roots=["scans"])
        >>> agent = create_agent("anthropic:claude-sonnet-4-5", [tool])
        >>> agent.invoke({"messages": [("user", "What was the revenue in 2024?")]})
    """
    check_retriever(retriever)
    own = retriever_in(retriever)
    tool = page_tool(
        own,
        description=description,
        image_mode=image_mode,
        k=k,
        max_k=max_k,
        max_characters=max_characters,
        thumbnail_side=thumbnail_side,
        thumbnail_bytes=thumbnail_bytes,
        image_url=image_url,
        image_keys=image_keys,
        allowed_image_roots=allowed_image_roots,
        allow_image_urls=allow_image_urls,
        image_limits=image_limits,
    )
    search = _PageSearch(
        retriever=retriever, results=tool.results, k=k, score_key=getattr(own, "score_key", "relevance_score")
    )
    return StructuredTool(
        name=name,
        description=tool.description,
        args_schema=tool.arguments,
        func=search.search,
        coroutine=search.asearch,
        response_format="content_and_artifact",
    )


@dataclass(frozen=True, kw_only=True)
class _PageSearch:
    """What the tool does. LangChain passes ``callbacks``, so that the retriever's run is traced inside the tool's."""

    retriever: Runnable[str, list[Document]]
    results: PageResults
    k: int
    score_key: str | None

    def search(self, query: str, k: int | None = None, callbacks: Callbacks = None) -> _Found:
        k = self.k if k is None else k
        return self._answer(finding(self.retriever, k, asynchronous=False).invoke(query, {"callbacks": callbacks}), k)

    async def asearch(self, query: str, k: int | None = None, callbacks: Callbacks = None) -> _Found:
        k = self.k if k is None else k
        found = await finding(self.retriever, k, asynchronous=True).ainvoke(query, {"callbacks": callbacks})
        return await asyncio.to_thread(self._answer, found, k)

    def _answer(self, found: list[Document], k: int) -> _Found:
        documents = documents_in(found)[:k]
        if not documents:
            return [TextContentBlock(type="text", text=NOTHING_FOUND)], []
        pages = self.results.shown(
            found_page(document, self.results.images.keys, self.score_key) for document in documents
        )
        return [block for page in pages for block in blocks(page)], documents
