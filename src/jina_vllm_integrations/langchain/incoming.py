"""Documents on their way in: each with an id, and images made documents."""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from langchain_core.documents import Document

from jina_vllm_integrations.adapters.page_loading import folder_above, uri_id
from jina_vllm_integrations.encoding.requests import check_plural
from jina_vllm_integrations.errors import InputError, ItemTypeError
from jina_vllm_integrations.foundation.skipping import KeptIds
from jina_vllm_integrations.images.addresses import is_data_uri
from jina_vllm_integrations.langchain.rankables import listed_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jina_vllm_integrations.foundation.skipping import Skipped

_URI = re.compile(r"(data:|file://|https?://)", re.IGNORECASE)


def identified(documents: Iterable[Document], ids: Sequence[str] | None) -> list[Document]:
    """Return copies of documents, each with an id: the given one, its own, or a new UUID.

    Raises:
        ItemTypeError: It is one document, or one of them is none; ``index`` is its position.
        InputError: The ids are not as many as the documents.
    """
    listed = listed_documents(documents)
    _check_number("ids", ids, len(listed))
    given = repeat(None) if ids is None else ids
    return [
        document.model_copy(update={"id": name or document.id or str(uuid4())})
        for document, name in zip(listed, given, strict=False)
    ]


def ids_of(documents: Iterable[Document]) -> list[str]:
    """Return the ids of documents that have some."""
    return [str(document.id) for document in documents]


def kept_ids(documents: Iterable[Document], skipped: list[Skipped]) -> KeptIds:
    """Return the ids of documents that were not skipped."""
    left_out = {each.index for each in skipped}
    good = (document for position, document in enumerate(documents) if position not in left_out)
    return KeptIds(ids_of(good), skipped=skipped)


def image_documents(
    images: Iterable[str | Path], metadatas: Sequence[Mapping[str, Any]] | None, *, key: str
) -> list[Document]:
    """Return a document an image, which names it in its metadata, as its source too, and has its name as its text.

    The name of a file is its path from the folder above all of them, because LangChain takes documents with equal texts
    for one. Its id is of its place, and of a file the loaders' of its first page; a place that comes again gets others.

    Args:
        images: Paths, which are made absolute, and URIs.
        metadatas: What else the metadata holds, one an image.
        key: Where the metadata names the image.

    Raises:
        ItemTypeError: It is one image, or one of them is neither a path nor a URI; ``index`` is its position.
        InputError: The metadatas are not as many as the images.
    """
    check_plural(images)
    listed = list(images)
    _check_number("metadatas", metadatas, len(listed))
    given = repeat({}) if metadatas is None else metadatas
    sources = [_source(image, index) for index, image in enumerate(listed)]
    above = folder_above(Path(source) for source in sources if not _URI.match(source))
    documents = [
        _image_document(source, metadata, key, above) for source, metadata in zip(sources, given, strict=False)
    ]
    return [document.model_copy(update={"id": name}) for document, name in zip(documents, _ids(sources), strict=True)]


def _ids(sources: Iterable[str]) -> Iterator[str]:
    """Yield ids that are the same in the next call, so that an image takes its own place again."""
    times: Counter[str] = Counter()
    for source in sources:
        uri = source if _URI.match(source) else Path(source).as_uri()
        uri = f"{uri}#page=1" if uri.startswith("file:") and "#" not in uri else uri
        yield uri_id(uri if not times[uri] else f"{uri}&again={times[uri]}")
        times[uri] += 1


def _source(image: object, index: int) -> str:
    if not isinstance(image, str | Path):
        raise ItemTypeError(
            f"an image must be named by a path, data URI or URL, from where it is read again later, got "
            f"{type(image).__name__}. Save it to a file inside allowed_image_roots, and pass its path.",
            index=index,
        )
    return image if isinstance(image, str) and _URI.match(image) else str(Path(image).absolute())


def _image_document(source: str, metadata: Mapping[str, Any], key: str, above: str) -> Document:
    named = {} if is_data_uri(source) else {"source": source}  # the key of LangChain's loaders
    return Document(f"[{_name(source, above)}]", metadata={**named, **metadata, key: source})


def _name(source: str, above: str) -> str:
    if is_data_uri(source):
        return "image"
    if not _URI.match(source):
        return Path(os.path.relpath(source, above)).as_posix()
    parts = urlsplit(source)
    return unquote(f"{parts.hostname or ''}{parts.path}").lstrip("/")  # without what may be secret


def _check_number(name: str, given: Sequence[Any] | None, number: int) -> None:
    if given is not None and len(given) != number:
        raise InputError(f"{name} must be one for each of the {number} inputs, got {len(given)}. Pass as many.")
