"""What is searched for, in the forms that chains and agents have in hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue

from jina_vllm_integrations.errors import ItemTypeError, naming
from jina_vllm_integrations.langchain.images import LangChainInput, image_item, multimodal_item
from jina_vllm_integrations.types import TextImageQuery, TextInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.types import Query

LangChainQuery: TypeAlias = "LangChainInput | TextImageQuery | BaseMessage | PromptValue | Sequence[Any]"
"""A text, an image or both; a message, its content, or a prompt, of one text, one image, or one of each."""


def query_item(given: LangChainQuery) -> Query:
    """Return the text, the image, or the two together that are searched for.

    Args:
        given: As `multimodal_item` takes it; a `TextImageQuery`; a message, a list of one message or content block, or
            of a text's and an image's, in whichever order; or a prompt's value.

    Raises:
        ItemTypeError: It is a chain's dict, has several texts or images, or has neither a text nor an image.
        ImageAddressError: A block's URL is neither http, https nor a data URI.
    """
    with naming(None):
        return _item(given)


def text_of(query: Query) -> str | None:
    """Return the text that is searched for; ``None`` where it is an image, or has one."""
    match query:
        case str():
            return query
        case TextInput():
            return query.text
    return None


def _item(given: Any) -> Query:
    match given:
        case TextImageQuery():
            return given
        case ChatPromptValue():
            return _only(given.messages)
        case PromptValue():
            return given.to_string()
        case BaseMessage():
            return _item(given.content)
        case list() | tuple():
            return _only(given)
        case Mapping() if "type" not in given:
            raise ItemTypeError(_of_a_dict(given))
    return multimodal_item(given)


def _only(parts: Sequence[Any]) -> Query:
    if len(parts) == 1:
        return _item(parts[0])
    if any(isinstance(part, BaseMessage) for part in parts):
        raise ItemTypeError(f"a query is one message, got {len(parts)}. Pass messages[-1].")
    texts = [text for part in parts if (text := _text(part)) is not None]
    images = [part for part in parts if _text(part) is None]
    if len(texts) == len(images) == 1:
        return TextImageQuery(texts[0], image_item(images[0]))
    raise ItemTypeError(
        f"a query has one text, one image, or one of each, got {len(parts)} parts with {len(texts)} texts. Pass what "
        "is searched for."
    )


def _text(part: Any) -> str | None:
    match part:
        case str() | TextInput(text=str()):
            return part if isinstance(part, str) else part.text
        case {"type": "text", "text": str() as text}:
            return text
    return None


def _of_a_dict(given: Mapping[Any, Any]) -> str:
    key = next((key for key, value in given.items() if isinstance(value, str)), "question")
    return (
        f"a query is a text, an image or a message, got a dict of {', '.join(map(repr, given)) or 'nothing'}. Pass the "
        f'question itself: in a chain, itemgetter("{key}") | retriever.'
    )
