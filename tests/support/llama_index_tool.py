"""LlamaIndex's tool over retrievers that find all they have."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from PIL import Image

from jina_vllm_integrations import ImageLimits
from jina_vllm_integrations.llama_index import create_page_search_tool
from pictures import colour_of, data_uri, png

QUERY = "where is the red circle"
RED, BLUE = data_uri(png("red")), data_uri(png("blue"))


class Pages(BaseRetriever):
    """Returns all its nodes, whatever is asked, and blocks while it does."""

    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes
        self.queries = []
        self.threads = []

    def _retrieve(self, query_bundle):
        self.queries.append(query_bundle.query_str)
        self.threads.append(threading.current_thread())
        return self.nodes


class AsyncPages(Pages):
    """Has a way of its own for event loops."""

    async def _aretrieve(self, query_bundle):
        return self._retrieve(query_bundle)


class CountingPages(Pages):
    """Returns as many as it is set to."""

    similarity_top_k = 2

    def _retrieve(self, query_bundle):
        return super()._retrieve(query_bundle)[: self.similarity_top_k]


class PagesOfAFolder(Pages):
    """Says of itself what may be read, as `JinaVLLMRetriever` does."""

    image_keys = ("page_png",)
    image_limits = ImageLimits()

    def __init__(self, nodes, root):
        super().__init__(nodes)
        self.allowed_image_roots = (root,)


def page(image, text="", **metadata):
    """Return a page's node as a store that knows only texts does."""
    return TextNode(text=text, metadata={"image_uri": image, **metadata})


def found(*nodes):
    """Return nodes without a score."""
    return [NodeWithScore(node=node) for node in nodes]


def two_pages():
    """Return a red and a blue page with all that a page may have."""
    return [
        NodeWithScore(node=page(RED, "the red circle", file_path="a.pdf", page_label="iv"), score=np.float32(0.71234)),
        NodeWithScore(node=page(BLUE, "the blue square", file_name="b.pdf", page_label=12)),
    ]


def made(nodes, **options):
    """Return a tool over a retriever of nodes."""
    return create_page_search_tool(Pages(nodes), **options)


def both_ways(tool, **arguments):
    """Return the answers to a synchronous and to an asynchronous call."""
    given = {"query": QUERY, **arguments}
    return [tool.call(**given), asyncio.run(tool.acall(**given))]


def answer(tool, **arguments):
    """Return the blocks of an answer, which are the same both ways."""
    first, second = both_ways(tool, **arguments)
    assert first.blocks == second.blocks
    return first.blocks


def shown(node, **options):
    """Return the lines of the text about one page, and the blocks after it."""
    text, *images = answer(made(found(node), **options))
    return text.text.splitlines(), images


def kinds(blocks):
    """Return what blocks are."""
    return [block.block_type for block in blocks]


def picture(block):
    """Return the picture in a block."""
    assert (block.path, block.url, block.image_mimetype) == (None, None, "image/jpeg")
    image = Image.open(block.resolve_image())
    assert image.format == "JPEG"
    return image


def colour(block):
    """Return what a plain picture shows."""
    return colour_of(picture(block))
