"""LangChain's tool over retrievers that find all they have."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from pathlib import Path  # noqa: TC003 - pydantic reads it

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from PIL import Image
from pydantic import Field

from jina_vllm_integrations import ImageLimits
from jina_vllm_integrations.langchain import create_page_search_tool
from pictures import colour_of, data_uri, png

QUERY = "where is the red circle"
RED, BLUE = data_uri(png("red")), data_uri(png("blue"))


class Pages(BaseRetriever):
    """Returns all its documents, whatever is asked."""

    documents: list[Document]
    queries: list[str] = Field(default_factory=list)
    threads: list[threading.Thread] = Field(default_factory=list)

    def _get_relevant_documents(self, query, *, run_manager):
        self.queries.append(query)
        return self.documents

    async def _aget_relevant_documents(self, query, *, run_manager):
        self.threads.append(threading.current_thread())
        return self._get_relevant_documents(query, run_manager=run_manager)


class CountingPages(Pages):
    """Takes a number as LangChain's own example does: any keyword, beside a number of its own."""

    k: int = 3
    numbers: list[int] = Field(default_factory=list)

    def _get_relevant_documents(self, query, *, run_manager, **kwargs):
        self.numbers.append(kwargs.get("k", self.k))
        return self.documents[: self.numbers[-1]]

    async def _aget_relevant_documents(self, query, *, run_manager, **kwargs):
        return self._get_relevant_documents(query, run_manager=run_manager, **kwargs)


class PagesOfAFolder(Pages):
    """Says of itself what may be read, as `JinaVLLMRetriever` does."""

    allowed_image_roots: tuple[Path, ...]
    image_keys: tuple[str, ...] = ("page_png",)
    image_limits: ImageLimits = ImageLimits()


def page(image, text="", **metadata):
    """Return a page's document."""
    return Document(text, metadata={"image_uri": image, **metadata})


def two_pages():
    """Return a red and a blue page with all that a page may have."""
    return [
        page(RED, "the red circle", source="a.pdf", page=0, relevance_score=0.71234),
        page(BLUE, "the blue square", source="b.pdf", page=11.0),
    ]


def made(documents, **options):
    """Return a tool over a retriever of documents."""
    return create_page_search_tool(Pages(documents=documents), **options)


def call(**arguments):
    """Return a model's call of the tool."""
    return {"name": "search_pages", "args": {"query": QUERY, **arguments}, "id": "call 1", "type": "tool_call"}


def both_ways(tool, given):
    """Return the answers to a synchronous and to an asynchronous call."""
    return [tool.invoke(given), asyncio.run(tool.ainvoke(given))]


def answer(tool, **arguments):
    """Return the content of an answer, which is the same both ways."""
    first, second = both_ways(tool, call(**arguments))
    assert first.content == second.content
    return first.content


def shown(document, **options):
    """Return the lines of the text about one page, and the blocks after it."""
    text, *images = answer(made([document], **options))
    assert set(text) == {"type", "text"}
    return text["text"].splitlines(), images


def picture(block):
    """Return the picture in a block."""
    assert {**block, "base64": ""} == {"type": "image", "mime_type": "image/jpeg", "base64": ""}
    image = Image.open(io.BytesIO(base64.b64decode(block["base64"], validate=True)))
    assert image.format == "JPEG"
    return image


def colour(block):
    """Return what a plain picture shows."""
    return colour_of(picture(block))
