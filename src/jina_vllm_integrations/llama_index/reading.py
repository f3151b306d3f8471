"""PDFs, scans and pictures as LlamaIndex's documents, one a page."""

from __future__ import annotations

from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import ImageDocument, MediaResource
from pydantic import AnyUrl

from jina_vllm_integrations.adapters.page_loading import PageLoading, image_metadata, page_id
from jina_vllm_integrations.adapters.threaded import iterated
from jina_vllm_integrations.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from llama_index.core.schema import Document

    from jina_vllm_integrations.pages import Page, PageImage, PagePaths

# A language model must know what to cite. An embedding is of the page alone.
_FOR_LLM = ("file_path", "page_label")


class PageImageReader(PageLoading, BaseReader):
    """Reads PDFs, scans and pictures, one document a page, each with an image that can be embedded and ranked.

    Embed them by ``JinaVLLMEmbedding(...)(documents)`` or the retriever's ``insert_nodes``: ``from_documents`` of an
    index would embed their texts, not their images.

    A document is an `ImageDocument`, the only kind that node parsers turn into what a multi-modal index takes for an
    image. Its image is a file, or the URI of a page, because LlamaIndex keeps no bytes; its text is how the page's text
    layer begins, or which page it is, such as ``"[page 2 of scans/a.pdf]"``, its path from the folder above what is
    read, because nodes without a text are left out of indexes and those with equal texts taken for one. All else is in
    the metadata:

    - ``file_path`` and ``file_name``; ``page_number``, from 1; ``page_label``, the number that is printed on the page
      if the PDF says, and else the same as a text; and ``total_pages``;
    - ``image_uri``, the picture's absolute path, or a page's URI, ``file:///reports/a.pdf#page=2``; ``image_sha256``,
      without which the ingestion cache and the document store would take a changed image for the same; ``width`` and
      ``height`` in pixels; and ``dpi``, if it is known.

    Embeddings of the text see none of it, language models ``file_path`` and ``page_label``. A page's id is of the
    file's path and the page, as `PageImageLoader`'s for LangChain, so that a document store notices what changed.

    Pages of PDFs, and of TIFF files with several, are drawn when they are embedded or shown, and written nowhere,
    unless there is an ``image_folder``: then each is a file there, named by content. LlamaIndex's own multi-modal query
    engines can open files alone: give them a `PageImagePostprocessor`. To rank pages or show them, allow what reads
    nodes' images the folders of what is read, and that one. PDFs need the extra ``pdf``.

    Args:
        glob: Which files of a folder to read, as for `PageReader`, like all that follows but ``max_characters``.
        dpi: At which PDFs are drawn; large pages at less.
        pages: Which pages of each PDF and of each TIFF with several, such as ``"1-3,7,20-"``; ``None`` for all.
        image_folder: Where the images of pages are written; ``None`` for nowhere.
        image_format: Of these, ``"webp"``, ``"jpeg"`` or ``"png"``.
        password: Of encrypted PDFs; of several, each is tried.
        image_limits: What a page's image may cost.
        on_error: ``"skip"`` to log a file or page that cannot be read as a warning, and list it in ``skipped``; through
            `SimpleDirectoryReader`, each file is a reading.
        show_progress: Show a bar that counts pages.
        max_characters: Of a document's text. A node parser that splits it makes a node with the page's image of each
            part.

    Raises:
        OptionError: A value that is none of these.

    Example:
        >>> reader = PageImageReader(image_folder="page_images")
        >>> SimpleDirectoryReader("reports", file_extractor={".pdf": reader, ".png": reader}).load_data()
        [ImageDocument(id_='5c0…', metadata={'page_label': '1', ...}, ...), ...]
    """

    def lazy_load_data(
        self, file: PagePaths, extra_info: Mapping[str, Any] | None = None, *, fs: object = None
    ) -> Generator[Document]:
        """Yield documents, each page when its turn comes.

        Args:
            file: A file, a folder, which is searched to any depth in the order of names, or several of them.
            extra_info: Goes into the metadata of each document, and takes precedence there.
            fs: LlamaIndex's, for files that are elsewhere. Not supported.

        Raises:
            OptionError: There is an ``fs``, something is no path or pattern, or ``image_folder`` cannot be written.
            PageNotFoundError: The path does not exist, or the folder has no such file. Never skipped.
            PageError: A file is damaged, encrypted, unreadable or a link out of its folder, or a page costs too much.
            ImageError: A picture is damaged or too large, or a page is.
            MissingExtraError: There is a PDF, and pypdfium2 is not installed.
        """
        if fs is not None:
            raise OptionError(
                f"PageImageReader reads local files, got fs={type(fs).__name__}. Download the files, and read those."
            )
        with closing(self._texts_and_pages(file)) as pages:
            for text, page in pages:
                yield _document(text, page, extra_info or {})

    def load_data(
        self, file: PagePaths, extra_info: Mapping[str, Any] | None = None, *, fs: object = None
    ) -> list[Document]:
        """Return all documents. See `lazy_load_data`."""
        return list(self.lazy_load_data(file, extra_info, fs=fs))

    async def aload_data(
        self, file: PagePaths, extra_info: Mapping[str, Any] | None = None, *, fs: object = None
    ) -> list[Document]:
        """Do as `load_data`, without blocking the event loop. Cancelling stops the work after the page it is at."""
        async with aclosing(iterated(self.lazy_load_data(file, extra_info, fs=fs))) as documents:
            return [document async for document in documents]

    async def alazy_load_data(
        self, file: PagePaths, extra_info: Mapping[str, Any] | None = None, *, fs: object = None
    ) -> Iterable[Document]:
        """Do as `aload_data`: an iterable that reads pages would block the event loop."""
        return await self.aload_data(file, extra_info, fs=fs)


def _document(text: str, page: Page, extra_info: Mapping[str, Any]) -> Document:
    metadata = _metadata(page)
    return ImageDocument(
        id_=page_id(page),
        image_resource=_resource(page.image),
        text_resource=MediaResource(text=text),
        metadata={**metadata, **extra_info},
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=[key for key in metadata if key not in _FOR_LLM],
    )


def _resource(image: PageImage) -> MediaResource:
    if isinstance(image.source, Path):
        return MediaResource(path=image.source)
    return MediaResource(url=AnyUrl(image.uri))


def _metadata(page: Page) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "file_path": str(page.source),
        "file_name": page.source.name,
        "page_label": page.label or str(page.number + 1),
        "page_number": page.number + 1,
        "total_pages": page.n_pages,
        **image_metadata(page),
    }
    if page.dpi is not None:
        metadata["dpi"] = page.dpi
    return metadata
