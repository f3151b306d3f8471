"""Documents as a first stage finds them: as they were written, and each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.langchain.rankables import without_note

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from langchain_core.documents import Document
    from langchain_core.vectorstores import VectorStore

_QDRANTS_OWN = {"_id", "_collection_name"}


def as_written(documents: Iterable[Document], store: VectorStore | None) -> list[Document]:
    """Return documents as they were written: some stores put ids into the metadata, and leave them there.

    Args:
        documents: As they were found or looked up.
        store: Where; ``None`` if that is not known. Qdrant's are known by their metadata, Milvus's are not.
    """
    id_key = _id_key(store)
    return [_as_written(document, id_key) for document in documents]


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


def _id_key(store: Any) -> str | None:
    """Return where metadata have the id, and nothing that was written, by what the store says."""
    if not any(kind.__name__ == "Milvus" for kind in type(store).__mro__):
        return None
    # Metadata that have a field of their own are returned without the id.
    key: str | None = None if store._metadata_field else store._primary_field  # noqa: SLF001
    return key


def _as_written(document: Document, id_key: str | None) -> Document:
    metadata = document.metadata
    if metadata.keys() >= _QDRANTS_OWN:
        return _without(document, _QDRANTS_OWN, name=metadata["_id"])
    # A document's id is a text. By a number that the store gave, it is deleted as a number: that stays where it is.
    if id_key is not None and isinstance(metadata.get(id_key), str):
        return _without(document, {id_key}, name=metadata[id_key])
    return document


def _without(document: Document, keys: Container[str], *, name: str) -> Document:
    metadata = {key: value for key, value in document.metadata.items() if key not in keys}
    return document.model_copy(update={"id": document.id or name, "metadata": metadata})


def _metadata(document: Document) -> str:
    """Return metadata as it compares: anything may be in there, of which not all can be hashed or compared."""
    return repr(sorted(without_note(document).metadata.items(), key=lambda item: str(item[0])))
