"""What is ranked, and by which text or image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.documents import Document

from jina_vllm_integrations.adapters.batches import items_of, items_or_errors
from jina_vllm_integrations.adapters.content_notes import KEY, note, with_known
from jina_vllm_integrations.errors import EmptyTextError, InputError, ItemTypeError
from jina_vllm_integrations.types import Item, TextInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.foundation.skipping import OnError
    from jina_vllm_integrations.token_store.keys import Known

Rankable: TypeAlias = str | Document | Mapping[str, Any]
"""A text; a document; or a dict with its text under ``"text"`` or ``"page_content"`` and its image under the reranker's
``image_keys``, there or in its ``"metadata"``."""


def listed(documents: Iterable[Rankable]) -> list[Rankable]:
    """Return several documents, before it is known whether each of them is one.

    Raises:
        ItemTypeError: It is one document.
    """
    if isinstance(documents, str | Document | Mapping):
        raise ItemTypeError(
            f"documents must be a sequence, got one {type(documents).__name__}. For one document write [document]."
        )
    return list(documents)


def listed_documents(documents: Iterable[Document]) -> list[Document]:
    """Return documents of which there will be copies.

    Raises:
        ItemTypeError: It is one document, or one of them is none; ``index`` is its position.
    """
    return [_document(document, index) for index, document in enumerate(listed(documents))]


def items(rankables: Iterable[Rankable], images: PageImages) -> list[Item]:
    """Return what each is ranked by: the image in its metadata, or else its text. Looks at the file system.

    Raises:
        InputError: One has neither, or its image must not be read; ``index`` is its position.
    """
    return items_of(rankables, lambda rankable: _item(rankable, images))


def found_items(documents: Sequence[Document], images: PageImages) -> list[Item | Known | InputError]:
    """Return what each document that a store found is ranked by, or why there is nothing. Looks at the file system."""
    images = images.at_once()
    items = items_or_errors(documents, lambda document: _item(document, images))
    return [
        with_known(item, document.metadata, images.source(document.metadata))
        for item, document in zip(items, documents, strict=True)
    ]


def with_note(document: Document, content: bytes | None, images: PageImages) -> Document:
    """Return a copy that says what its image shows, for a store; a text as it is.

    Args:
        document: Stays as it is.
        content: The `content_key` of the image; ``None`` where nothing of it was kept.
        images: Which images there are.
    """
    source = images.source(document.metadata)
    if content is None or source is None:
        return without_note(document)
    return document.model_copy(update={"metadata": {**document.metadata, KEY: note(content, source)}})


def without_note(document: Document) -> Document:
    """Return a copy as it was before it came into a store; one without a note as it is."""
    if KEY not in document.metadata:
        return document
    metadata = {key: value for key, value in document.metadata.items() if key != KEY}
    return document.model_copy(update={"metadata": metadata})


def names_of(documents: Iterable[Document]) -> list[str]:
    """Return what documents that a store found are called in the log."""
    return [
        f"the document {position}" if document.id is None else f"the document {document.id!r}"
        for position, document in enumerate(documents)
    ]


def coming_items(documents: Iterable[Document], images: PageImages, on_error: OnError) -> Sequence[Item | InputError]:
    """Return what each document on its way into an index is embedded by. Looks at the file system.

    Raises:
        InputError: As `items`, unless bad ones are to be skipped: then it stands in the place of one.
    """
    made = items_or_errors if on_error == "skip" else items_of
    return made(documents, lambda document: _item(document, images))


def with_score(document: Document, score: float | None, key: str | None) -> Document:
    """Return a copy with a score under a key of its metadata, which takes the place of an earlier stage's.

    One that could not be ranked has none: an earlier stage's is not comparable. Without a key the metadata stays.
    """
    metadata = {name: value for name, value in document.metadata.items() if name != key}
    scored = {} if key is None or score is None else {key: score}
    return document.model_copy(update={"metadata": {**metadata, **scored}})


def _document(rankable: Rankable, index: int) -> Document:
    if not isinstance(rankable, Document):
        raise ItemTypeError(
            f"compress_documents takes Documents, got {type(rankable).__name__} {rankable!r:.60}. Call rerank.",
            index=index,
        )
    return rankable


def _item(rankable: Rankable, images: PageImages) -> Item:
    text, metadata = _parts(rankable)
    image = images.named_by(metadata)
    if image is not None:
        return image
    if text is None or (isinstance(text, str) and not text.strip()):
        raise EmptyTextError(
            f"a document must have a text, or an image in metadata under {' or '.join(map(repr, images.keys))}, got "
            "neither. Store one of them, say with image_keys= where the image is, or leave the document out."
        )
    return TextInput(text)  # not bare: what is no str must not pass for an image


def _parts(rankable: Rankable) -> tuple[Any, Mapping[str, Any]]:
    """Return a text, or what stands in its place, and metadata."""
    match rankable:
        case str():
            return rankable, {}
        case Document():
            return rankable.page_content, rankable.metadata
        case Mapping():
            text = rankable.get("page_content", rankable.get("text"))
            return text, {**rankable, **(rankable.get("metadata") or {})}
    raise ItemTypeError(
        f"a document is a Document, str or dict, got {type(rankable).__name__} {rankable!r:.60}. Make it a Document; "
        "an image goes into its metadata."
    )
