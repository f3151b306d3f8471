"""What is searched for, in the forms that chains and agents have in hand."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import QueryBundle
from PIL import Image

from jina_vllm_integrations import images
from jina_vllm_integrations.errors import InputError, ItemTypeError
from jina_vllm_integrations.foundation.opening import Beneath
from jina_vllm_integrations.llama_index.images import image_item
from jina_vllm_integrations.types import ImageInput, TextImageQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import NodeWithScore

    from jina_vllm_integrations.images import ImageSource
    from jina_vllm_integrations.types import Query

LlamaIndexQuery: TypeAlias = (
    "str | QueryBundle | TextImageQuery | ImageInput | ChatMessage | TextBlock | ImageBlock | Sequence[Any]"
)
"""A text, an image or both; or a message, a block, or a list of blocks, of one text, one image, or one of each."""


def query_bundle(given: LlamaIndexQuery) -> QueryBundle:
    """Return what is searched for as LlamaIndex has it, such as for a whole query engine.

    Args:
        given: A text; an `ImageInput`; a `TextImageQuery`; a ``ChatMessage``, a content block, or a list of one message
            or block, or of a text's and an image's, in whichever order. The caller answers for a path in a block: it
            is read wherever it leads. An image that is not named by a path or URL becomes a data URI.

    Returns:
        The text as its ``query_str`` and the image as its ``image_path``; a ``QueryBundle`` as it is.

    Raises:
        ItemTypeError: It is a dict, has several texts or images, or has neither a text nor an image.
    """
    match given:
        case QueryBundle():  # LlamaIndex makes one of any query_str
            return given if isinstance(given.query_str, str) else query_bundle(given.query_str)
        case str() | TextBlock():
            return QueryBundle(given if isinstance(given, str) else given.text)
        case ImageBlock() | ImageInput():
            return QueryBundle("", image_path=_path(image_item(given).source))
        case TextImageQuery():
            image = given.image if isinstance(given.image, ImageInput) else ImageInput(given.image)
            return QueryBundle(given.text, image_path=_path(image.source))
        case ChatMessage() | list() | tuple():
            return _only(given.blocks if isinstance(given, ChatMessage) else given)
    raise ItemTypeError(_of_another(given))


def query_item(query_bundle: QueryBundle | None) -> Query:
    """Return what is searched for: the bundle's text, its image, or the two together.

    Raises:
        InputError: There is none.
    """
    if query_bundle is None:
        raise InputError("reranking needs a query, got none. Pass query_str= or query_bundle=.")
    if query_bundle.image_path is None:
        return query_bundle.query_str
    image = ImageInput(query_bundle.image_path)
    return TextImageQuery(query_bundle.query_str, image) if query_bundle.query_str.strip() else image


class TakesMessages:
    """Lets a retriever of LlamaIndex's be asked by messages and content blocks. Comes before ``BaseRetriever``.

    It is no part of the retriever itself, whose overridden methods LlamaIndex would trace a second time.
    """

    def retrieve(self, str_or_query_bundle: LlamaIndexQuery) -> list[NodeWithScore]:
        """Find nodes.

        Args:
            str_or_query_bundle: As `query_bundle` takes it.

        Returns:
            Copies, the best first.

        Raises:
            InputError: The query cannot be embedded; or what was found cannot be ranked, by ``on_found_error="raise"``.
            JinaVLLMError: The model cannot be served, the engine died, or a store cannot be read.
        """
        return super().retrieve(query_bundle(str_or_query_bundle))  # type: ignore[misc,no-any-return]

    async def aretrieve(self, str_or_query_bundle: LlamaIndexQuery) -> list[NodeWithScore]:
        """Do as `retrieve`, without blocking the event loop. Cancelling stops the work."""
        return await super().aretrieve(query_bundle(str_or_query_bundle))  # type: ignore[misc,no-any-return]


def _only(parts: Sequence[Any]) -> QueryBundle:
    if len(parts) == 1:
        return query_bundle(parts[0])
    if any(isinstance(part, ChatMessage) for part in parts):
        raise ItemTypeError(f"a query is one message, got {len(parts)}. Pass messages[-1].")
    texts = [part for part in parts if isinstance(part, str | TextBlock)]
    pictures = [part for part in parts if isinstance(part, ImageBlock | ImageInput)]
    if len(texts) == len(pictures) == 1 and len(parts) == 2:  # noqa: PLR2004 - nothing beside them
        return QueryBundle(query_bundle(texts[0]).query_str, image_path=query_bundle(pictures[0]).image_path)
    raise ItemTypeError(
        f"a query has one text, one image, or one of each, got {len(parts)} parts with {len(texts)} texts and "
        f"{len(pictures)} images. Pass what is searched for."
    )


def _path(source: ImageSource) -> str:
    """Return what a ``QueryBundle`` names an image by."""
    match source:
        case str() | os.PathLike():
            return os.fsdecode(source)
        case Beneath():
            return str(source)
        case images.PageSource():
            return source.uri
        case Image.Image():
            content = io.BytesIO()
            images.inspect(source).load().save(content, format="PNG")
            return _data_uri(content.getbuffer())
        case bytes() | bytearray() | memoryview():
            return _data_uri(source)
        case _ if hasattr(source, "read"):
            if source.seekable():
                source.seek(0)
            return _data_uri(source.read())
    raise ItemTypeError(
        f"an image is a path, URL or data URI, bytes, a binary file or a PIL image, got {type(source).__name__} "
        f"{source!r:.60}."
    )


def _data_uri(content: bytes | bytearray | memoryview) -> str:
    return f"data:;base64,{base64.b64encode(content).decode()}"


def _of_another(given: object) -> str:
    if not isinstance(given, Mapping):
        return (
            f"a query is a text, an ImageInput, a TextImageQuery, a QueryBundle, a ChatMessage or its blocks, got "
            f"{type(given).__name__} {given!r:.60}. Pass one of them."
        )
    key = next((key for key, value in given.items() if isinstance(value, str)), "question")
    return (
        f"a query is a text, an image or a message, got a dict of {', '.join(map(repr, given)) or 'nothing'}. Pass the "
        f'question itself: given["{key}"].'
    )
