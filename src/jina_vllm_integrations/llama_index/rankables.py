"""Nodes that are ranked: by which text or image, for which query, and with which score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.schema import MetadataMode, NodeWithScore

from jina_vllm_integrations.adapters.batches import items_of, items_or_errors
from jina_vllm_integrations.adapters.content_notes import KEY, note, with_known
from jina_vllm_integrations.errors import EmptyTextError, InputError, ItemTypeError, noting
from jina_vllm_integrations.llama_index.node_images import allowed_image, image_source
from jina_vllm_integrations.types import TextInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from llama_index.core.schema import BaseNode

    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.foundation.skipping import OnError
    from jina_vllm_integrations.token_store.keys import Known
    from jina_vllm_integrations.types import Item

RETRIEVAL_SCORE = "retrieval_score"
"""Where LlamaIndex's rerankers keep the score of the stage before."""


def listed(nodes: Iterable[NodeWithScore]) -> list[NodeWithScore]:
    """Return nodes as a list of the caller's nodes.

    Raises:
        ItemTypeError: One of them is none; ``index`` is its position.
    """
    return [_node_with_score(node, index) for index, node in enumerate(nodes)]


def noting_ids(nodes: Sequence[NodeWithScore]) -> AbstractContextManager[None]:
    """Let an error about one of the nodes say which one it is in the store, too."""
    return noting(lambda index: f"the node's id is {nodes[index].node_id!r}")


def names_of(nodes: Iterable[NodeWithScore]) -> list[str]:
    """Return what nodes that a store found are called in the log."""
    return [f"the node {each.node_id!r}" for each in nodes]


def found_items(
    nodes: Sequence[NodeWithScore], images: PageImages, mode: MetadataMode
) -> list[Item | Known | InputError]:
    """Return what each is ranked by, its image or else its text, or why there is nothing. Looks at the file system."""
    images = images.at_once()
    items = items_or_errors(nodes, lambda each: _item(each.node, images, mode))
    return [
        with_known(item, each.node.metadata, image_source(each.node, images))
        for item, each in zip(items, nodes, strict=True)
    ]


def with_note(node: BaseNode, content: bytes | None, images: PageImages) -> BaseNode:
    """Return a copy that says what its image shows, for a store, hidden from all text; a text as it is.

    Args:
        node: Stays as it is.
        content: The `content_key` of the image; ``None`` where nothing of it was kept.
        images: Which images there are.
    """
    source = image_source(node, images)
    if content is None or source is None:
        return without_note(node)
    return node.model_copy(update=_hidden(node, KEY, note(content, source)))


def without_note(node: BaseNode) -> BaseNode:
    """Return a copy as it was before it came into a store; one without a note as it is."""
    if KEY not in node.metadata:
        return node
    return node.model_copy(
        update={
            "metadata": {key: value for key, value in node.metadata.items() if key != KEY},
            "excluded_embed_metadata_keys": [key for key in node.excluded_embed_metadata_keys if key != KEY],
            "excluded_llm_metadata_keys": [key for key in node.excluded_llm_metadata_keys if key != KEY],
        }
    )


def coming_items(
    nodes: Iterable[BaseNode], images: PageImages, mode: MetadataMode, on_error: OnError
) -> Sequence[Item | InputError]:
    """Return what each node on its way into an index is embedded by. Looks at the file system.

    Raises:
        InputError: One has neither an image nor a text, or its image must not be read; ``index`` is its position.
            Where bad ones are to be skipped, the error stands in the place of one.
    """
    made = items_or_errors if on_error == "skip" else items_of
    return made(nodes, lambda node: _item(node, images, mode))


def with_score(each: NodeWithScore, score: float | None, *, keep_retrieval_score: bool) -> NodeWithScore:
    """Return a copy with another score.

    Args:
        each: Stays as it is.
        score: The other one; ``None`` for one that could not be ranked.
        keep_retrieval_score: Write the former one into the metadata, if there is one, hidden from all text.
    """
    update: dict[str, Any] = {"metadata": dict(each.node.metadata)}
    if keep_retrieval_score and each.score is not None:
        update = _hidden(each.node, RETRIEVAL_SCORE, float(each.score))
    return NodeWithScore(node=each.node.model_copy(update=update), score=score)


def _hidden(node: BaseNode, key: str, value: str | float) -> dict[str, Any]:
    return {
        "metadata": {**node.metadata, key: value},
        "excluded_embed_metadata_keys": [
            *node.excluded_embed_metadata_keys,
            *({key} - set(node.excluded_embed_metadata_keys)),
        ],
        "excluded_llm_metadata_keys": [
            *node.excluded_llm_metadata_keys,
            *({key} - set(node.excluded_llm_metadata_keys)),
        ],
    }


def _node_with_score(node: object, index: int) -> NodeWithScore:
    if not isinstance(node, NodeWithScore):
        raise ItemTypeError(
            f"what is reranked is a NodeWithScore, got {type(node).__name__} {node!r:.60}. Write "
            "NodeWithScore(node=...).",
            index=index,
        )
    return node


def _item(node: BaseNode, images: PageImages, mode: MetadataMode) -> Item:
    image = allowed_image(node, images)
    if image is not None:
        return image
    # Metadata alone is no text: all pages of a file whose images were lost would look the same.
    if not node.get_content(MetadataMode.NONE).strip():
        raise EmptyTextError(
            f"a node must have a text, hold an image, or name one in metadata under "
            f"{' or '.join(map(repr, images.keys))}, got neither. Store one of them, say with image_keys= where the "
            "image is, or leave the node out."
        )
    return TextInput(_without_score(node).get_content(mode))


def _without_score(node: BaseNode) -> BaseNode:
    """Return a node whose text is the same in a second pass, whoever wrote the first one's score into it."""
    if RETRIEVAL_SCORE not in node.metadata:
        return node
    metadata = {key: value for key, value in node.metadata.items() if key != RETRIEVAL_SCORE}
    return node.model_copy(update={"metadata": metadata})
