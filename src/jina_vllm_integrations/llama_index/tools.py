"""A tool with which an agent searches pages, and sees them."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import TextBlock
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput

from jina_vllm_integrations.adapters.page_results import NOTHING_FOUND, page_tool
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.llama_index.found_nodes import blocks, found_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from llama_index.core.base.llms.types import ContentBlock
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore
    from pydantic import BaseModel

    from jina_vllm_integrations.adapters.page_results import ImageMode, PageResults
    from jina_vllm_integrations.images import ImageLimits


class _Retriever(Protocol):
    """Finds nodes; best with an ``aretrieve``, too."""

    def retrieve(self, bundle: QueryBundle, /) -> list[NodeWithScore]:
        """Return the best first."""


def create_page_search_tool(
    retriever: _Retriever,
    *,
    node_postprocessors: Iterable[BaseNodePostprocessor] = (),
    image_mode: ImageMode = "blocks",
    name: str = "search_pages",
    description: str | None = None,
    k: int = 4,
    max_k: int = 10,
    max_characters: int = 2000,
    thumbnail_side: int = 1024,
    thumbnail_bytes: int = 512 * 1024,
    image_url: Callable[[NodeWithScore], str | None] | None = None,
    image_keys: Iterable[str] | None = None,
    allowed_image_roots: Iterable[str | Path] | None = None,
    allow_image_urls: bool | None = None,
    image_limits: ImageLimits | None = None,
) -> FunctionTool:
    """Make a tool with which an agent searches pages, and sees them.

    LlamaIndex's own `RetrieverTool` returns text alone, and searches for ``"input is what is X?"`` where the model
    asked ``"what is X?"``. This one takes a ``query`` and, if the model wants another number of pages, ``k``. It
    answers with one text block a page: its rank, its ``file_path``, its ``page_label``, its score and the beginning of
    its text; and by ``image_mode`` with the page's image. The nodes themselves are the ``raw_output``, in the same
    order. It has no state: threads and event loops may share it, and asynchronous calls block no event loop.

    A page whose image cannot be had is shown without, its text says why in a few words, and the log in full. Whatever
    the retriever, a postprocessor or ``image_url`` raises ends the call; agents tell it to the model.

    Args:
        retriever: Any retriever of LlamaIndex's, or whatever else has its ``retrieve``, such as a query engine; without
            an ``aretrieve`` it is called in a thread. One that has a ``similarity_top_k`` smaller than what is asked
            for finds as many for this call. The first ``k`` that come back are shown.
        node_postprocessors: What the nodes go through before that, such as `JinaVLLMRerank`, whose ``top_n`` should
            be no smaller than ``max_k``, and ``similarity_top_k`` several times that.
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
        image_url: Returns the URL of a node's image for ``"url"``, and what names it for ``"reference"``: say a path
            as the agent's own tool knows it. ``None`` for a node without one. Left out, it is what the node has.
        image_keys: Where metadata may name an image of a node that holds none; the first that is there counts. Left
            out, like the three that follow, it is what the retriever has, as `JinaVLLMRetriever`, and else
            ``"image_uri"``.
        allowed_image_roots: The folders whose files nodes may name. None, if the retriever does not say otherwise.
        allow_image_urls: Fetch http and https URLs that nodes name, from public addresses only. Not done, if the
            retriever does not say otherwise.
        image_limits: What an image may cost.

    Returns:
        A tool for ``FunctionAgent(tools=[tool], llm=llm)``, and for whatever else takes LlamaIndex's tools.

    Raises:
        OptionError: No retriever, or a value that does not exist or does not fit.

    Example:
        >>> tool = create_page_search_tool(index.as_retriever(), allowed_image_roots=["scans"])
        >>> agent = FunctionAgent(tools=[tool], llm=llm)
        >>> await agent.run("What was the revenue in 2024?")
    """
    if not callable(getattr(retriever, "retrieve", None)):
        raise OptionError(
            f"retriever must be a retriever of LlamaIndex's, or have a retrieve as they do, got "
            f"{type(retriever).__name__}. Of an index, pass index.as_retriever()."
        )
    tool = page_tool(
        retriever,
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
        name=name,
        retriever=retriever,
        postprocessors=tuple(node_postprocessors),
        results=tool.results,
        arguments=tool.arguments,
    )
    return FunctionTool(
        fn=search.search,
        async_fn=search.asearch,
        metadata=ToolMetadata(name=name, description=tool.description, fn_schema=tool.arguments),
        callback=search.output,
    )


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one call found. LlamaIndex makes a text of it, which nobody reads and which must therefore be short."""

    arguments: dict[str, Any]
    nodes: list[NodeWithScore] = field(repr=False)
    blocks: list[ContentBlock] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _PageSearch:
    """What the tool does."""

    name: str
    retriever: _Retriever
    postprocessors: tuple[BaseNodePostprocessor, ...]
    results: PageResults
    arguments: type[BaseModel]

    def search(self, query: str = "", k: int | None = None) -> _Answer:
        arguments = self._checked(query, k)
        bundle = QueryBundle(arguments["query"])
        nodes = _reaching(self.retriever, arguments["k"]).retrieve(bundle)
        for postprocessor in self.postprocessors:
            nodes = postprocessor.postprocess_nodes(nodes, query_bundle=bundle)
        return self._answer(arguments, nodes)

    async def asearch(self, query: str = "", k: int | None = None) -> _Answer:
        arguments = self._checked(query, k)
        bundle = QueryBundle(arguments["query"])
        nodes = await _retrieved(_reaching(self.retriever, arguments["k"]), bundle)
        for postprocessor in self.postprocessors:
            nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=bundle)
        return await asyncio.to_thread(self._answer, arguments, nodes)

    def output(self, answer: _Answer) -> ToolOutput:
        return ToolOutput(
            tool_name=self.name,
            blocks=answer.blocks,
            raw_input={"args": (), "kwargs": answer.arguments},
            raw_output=answer.nodes,
        )

    def _checked(self, query: str, k: int | None) -> dict[str, Any]:
        """Return arguments, which LlamaIndex hands over as the model wrote them."""
        given = {"query": query} if k is None else {"query": query, "k": k}
        return self.arguments.model_validate(given).model_dump()

    def _answer(self, arguments: dict[str, Any], nodes: list[NodeWithScore]) -> _Answer:
        nodes = nodes[: arguments["k"]]
        pages = self.results.shown(found_page(node, self.results.images.keys) for node in nodes)
        shown = [block for page in pages for block in blocks(page)]
        return _Answer(arguments=arguments, nodes=nodes, blocks=shown or [TextBlock(text=NOTHING_FOUND)])


def _reaching(retriever: _Retriever, k: int) -> _Retriever:
    """Return a retriever that finds so many nodes, if it has a number of its own: LlamaIndex's default is two."""
    own = getattr(retriever, "similarity_top_k", None)
    if not isinstance(own, int) or own >= k:
        return retriever
    reaching = copy.copy(retriever)  # others may be using it
    reaching.similarity_top_k = k  # type: ignore[attr-defined]
    return reaching


async def _retrieved(retriever: _Retriever, bundle: QueryBundle) -> list[NodeWithScore]:
    own = getattr(retriever, "aretrieve", None)
    # LlamaIndex's own `_aretrieve` would block the event loop.
    if own is None or getattr(type(retriever), "_aretrieve", None) is BaseRetriever._aretrieve:  # noqa: SLF001
        return await asyncio.to_thread(retriever.retrieve, bundle)
    nodes: list[NodeWithScore] = await own(bundle)
    return nodes
