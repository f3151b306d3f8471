"""What is searched for, in the forms that chains and agents have in hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue

from jina_vllm_integrations.errors import ItemTypeError, naming
from jina_vllm_integrations.langchain.images import LangChainInput, multimodal_item
from jina_vllm_integrations.types import TextInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.types import Item

LangChainQuery: TypeAlias = "LangChainInput | BaseMessage | PromptValue | Sequence[Any]"
"""A text or an image; a message, its content, or a prompt, of one text or one image."""


def query_item(given: LangChainQuery) -> Item:
    """Return the text or image that is searched for.

    Args:
        given: As `multimodal_item` takes it; a message, a list of one message or content block, or a prompt's value.

    Raises:
        ItemTypeError: It is a chain's dict, has not exactly one part, or has neither a text nor an image.
        ImageAddressError: A block's URL is neither http, https nor a data URI.
    """
    with naming(None):
        return _item(given)


def text_of(query: Item) -> str | None:
    """Return the text that is searched for; ``None`` where it is an image."""
    match query:
        case str():
            return query
        case TextInput():
            return query.text
    return None


def _item(given: Any) -> Item:
    match given:
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


def _only(parts: Sequence[Any]) -> Item:
    if len(parts) == 1:
        return _item(parts[0])
    if any(isinstance(part, BaseMessage) for part in parts):
        raise ItemTypeError(f"a query is one message, got {len(parts)}. Pass messages[-1].")
    if parts and len({_is_text(part) for part in parts}) > 1:
        raise ItemTypeError(
            "a query of a text and an image together is not supported. Search for each of them, such as the text "
            "first, and merge what is found."
        )
    raise ItemTypeError(
        f"a query has one text or one image, got {len(parts)} parts. Pass the one that is searched for."
    )


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, Mapping) and part.get("type") == "text")


def _of_a_dict(given: Mapping[Any, Any]) -> str:
    key = next((key for key, value in given.items() if isinstance(value, str)), "question")
    return (
        f"a query is a text, an image or a message, got a dict of {', '.join(map(repr, given)) or 'nothing'}. Pass the "
        f'question itself: in a chain, itemgetter("{key}") | retriever.'
    )
