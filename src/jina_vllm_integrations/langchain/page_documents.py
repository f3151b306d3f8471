"""The documents that a retriever searches: how they come, go and are looked up."""

# Pydantic reads the annotations of this module, so they are not postponed.
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing import DeleteResponse, UpsertResponse
from langchain_core.indexing.base import DocumentIndex
from pydantic import PrivateAttr

from jina_vllm_integrations.adapters.image_access import ImageAccess
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.skipping import KeptIds, OnError
from jina_vllm_integrations.langchain.incoming import identified, image_documents
from jina_vllm_integrations.langchain.searches import PageIndex


class PageDocuments(ImageAccess, DocumentIndex):
    """Texts and page images in a `PageIndex`, which LangChain's ``index`` can fill.

    A class of its own makes ``_pages`` when it is made.
    """

    _pages: PageIndex = PrivateAttr()

    def add_documents(
        self, documents: Iterable[Document], *, ids: Sequence[str] | None = None, on_error: OnError = "raise"
    ) -> KeptIds:
        """Compute and keep documents: by the image that metadata names, or else by the text.

        All are checked before the first is computed. They are written in one call of the vector store's, thousands in
        several; the token vectors of those that were computed before another error stay.

        Args:
            documents: Texts and page images. They stay as they are.
            ids: One a document, in place of its own; a document without either gets a UUID. A document takes the place
                of another with its id, if the vector store has it so.
            on_error: A bad document raises; or ``"skip"`` to log it by its id as a warning, and list it in the
                ``skipped`` of what is returned.

        Returns:
            The ids of the documents that were kept, in order, as the vector store gives them.

        Raises:
            InputError: A document cannot be embedded, or its image must not be read; ``index`` is its position.
            StoreError: A store cannot be written, or the vector store did not take over the vectors, or each call of
                its overwrites what is there and these need several.
            JinaVLLMError: What else ``invoke`` raises.
        """
        return self._pages.add(identified(documents, ids), on_error)

    async def aadd_documents(
        self, documents: Iterable[Document], *, ids: Sequence[str] | None = None, on_error: OnError = "raise"
    ) -> KeptIds:
        """Do as `add_documents`, without blocking the event loop. Cancelling stops the work."""
        return await self._pages.aadd(identified(documents, ids), on_error)

    def add_images(
        self,
        images: Iterable[str | Path],
        *,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        on_error: OnError = "raise",
    ) -> KeptIds:
        """Compute and keep images as documents that name them in their metadata, with the file's name as text.

        Args:
            images: Paths inside ``allowed_image_roots``, data URIs, or URLs if those are allowed. Later, too, an image
                is read from there.
            metadatas: What else to keep of each.
            ids: As for `add_documents`, like the following, and like what is returned and raised; without them ids of
                the images' places, so that one that is added again takes its own.
            on_error: What to do about a bad image.
        """
        documents = image_documents(images, metadatas, key=self.image_keys[0])
        return self.add_documents(documents, ids=ids, on_error=on_error)

    async def aadd_images(
        self,
        images: Iterable[str | Path],
        *,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
        on_error: OnError = "raise",
    ) -> KeptIds:
        """Do as `add_images`, without blocking the event loop. Cancelling stops the work."""
        documents = image_documents(images, metadatas, key=self.image_keys[0])
        return await self.aadd_documents(documents, ids=ids, on_error=on_error)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents that are there, in any order."""
        return self._pages.get(ids)

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Do as `get_by_ids`, without blocking the event loop."""
        return await self._pages.aget(ids)

    def delete(self, ids: Sequence[str] | None = None, **_options: Any) -> DeleteResponse:
        """Delete documents. Ids of none are passed over.

        Returns:
            With ``num_deleted`` and ``succeeded`` where the vector store can tell which were there, by its
            ``get_by_ids``.

        Raises:
            OptionError: No ids were given, or the vector store cannot delete.
            StoreError: It did not, or could not be written.
        """
        return _deleted(self._pages.delete(_given(ids)))

    async def adelete(self, ids: Sequence[str] | None = None, **_options: Any) -> DeleteResponse:
        """Do as `delete`, without blocking the event loop."""
        return _deleted(await self._pages.adelete(_given(ids)))

    def upsert(self, items: Sequence[Document], /, **_options: Any) -> UpsertResponse:
        """Do as `add_documents`, for LangChain's ``index``."""
        return UpsertResponse(succeeded=self.add_documents(items), failed=[])

    async def aupsert(self, items: Sequence[Document], /, **_options: Any) -> UpsertResponse:
        """Do as `upsert`, without blocking the event loop."""
        return UpsertResponse(succeeded=await self.aadd_documents(items), failed=[])

    def get(self, ids: Sequence[str], /, **_options: Any) -> list[Document]:
        """Do as `get_by_ids`, for what takes a ``DocumentIndex``."""
        return self.get_by_ids(ids)

    async def aget(self, ids: Sequence[str], /, **_options: Any) -> list[Document]:
        """Do as `get`, without blocking the event loop."""
        return await self.aget_by_ids(ids)


def _given(ids: Sequence[str] | None) -> Sequence[str]:
    if ids is None:
        raise OptionError("delete needs ids, got none. Pass those of the documents to delete.")
    return ids


def _deleted(ids: list[str] | None) -> DeleteResponse:
    if ids is None:
        return DeleteResponse(num_failed=0, failed=[])
    return DeleteResponse(num_deleted=len(ids), succeeded=ids, num_failed=0, failed=[])
