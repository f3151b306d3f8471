"""Documents as a first stage finds them: as they were written, and each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_vllm_integrations.langchain.rankables import without_note

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.documents import Document

_QDRANTS_OWN = {"_id", "_collection_name"}


def as_written(documents: Iterable[Document]) -> list[Document]:
    """Return documents as they were written: langchain-qdrant puts ids into the metadata, and leaves them there."""
    return [
        document.model_copy(
            update={
                "id": document.id or document.metadata["_id"],
                "metadata": {key: value for key, value in document.metadata.items() if key not in _QDRANTS_OWN},
            }
        )
        if document.metadata.keys() >= _QDRANTS_OWN
        else document
        for document in documents
    ]


def unique(documents: Sequence[Document]) -> list[Document]:
    """Return documents in their order, of equal ones the first.

    Equal are those with the same text and either the same id, whatever a search wrote into the metadata, or the same
    metadata, whatever ids several stores gave. The same id alone is none: each store counts for itself.
    """
    ids: set[tuple[str, str]] = set()
    contents: set[tuple[str, str]] = set()
    kept: list[Document] = []
    for document in documents:
        content = (document.page_content, _metadata(document))
        name = None if document.id is None else (document.page_content, document.id)
        if content not in contents and name not in ids:
            kept.append(document)
        contents.add(content)
        if name is not None:
            ids.add(name)
    return kept


def _metadata(document: Document) -> str:
    """Return metadata as it compares: anything may be in there, of which not all can be hashed or compared."""
    return repr(sorted(without_note(document).metadata.items(), key=lambda item: str(item[0])))
