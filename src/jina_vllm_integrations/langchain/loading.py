"""PDFs, scans and pictures as LangChain's documents, one a page."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from jina_vllm_integrations.adapters.page_loading import PageLoading, image_metadata, page_id
from jina_vllm_integrations.adapters.threaded import iterated
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.pages.files import listed

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Generator, Sequence

    from jina_vllm_integrations.pages import ImageFormat, OnError, Page, PagePaths


class PageImageLoader(PageLoading, BaseLoader):
    """Loads PDFs, scans and pictures, one document a page, each with an image that can be embedded and ranked.

    Add them by `JinaVLLMRetriever`'s ``add_documents``: a vector store by itself would embed their texts, not their
    images.

    A document's text is how the page's text layer begins, or which page it is, such as ``"[page 2 of scans/a.pdf]"``:
    its path from the folder above what is loaded, because LangChain takes documents with equal texts for one. Its id
    is of the file's path and the page, so that a page which is loaded again takes its own place. All else is in the
    metadata, which any store takes and ``index`` hashes:

    - ``source``, the file; ``page``, from 0; ``total_pages``; and ``page_label``, the number that is printed on the
      page, if the PDF says;
    - ``image_uri``, the picture's absolute path, or a page's URI, ``file:///reports/a.pdf#page=2``; ``image_sha256``,
      which changes with what it shows; ``width`` and ``height`` in pixels; and ``dpi``, if it is known.

    Pages of PDFs, and of TIFF files with several, are drawn when they are embedded or shown, and written nowhere,
    unless there is an ``image_folder``: then each is a file there, named by content. To rank pages or show them, allow
    what reads documents' images the folders of what is loaded, and that one. PDFs need the extra ``pdf``.

    Args:
        path: A file, a folder, which is searched to any depth in the order of names, or several of them.
        glob: Which files of a folder to load, as for `PageReader`, like all that follows but ``max_characters``.
        dpi: At which PDFs are drawn; large pages at less.
        pages: Which pages of each PDF and of each TIFF with several, such as ``"1-3,7,20-"``; ``None`` for all.
        image_folder: Where the images of pages are written; ``None`` for nowhere.
        image_format: Of these, ``"webp"``, ``"jpeg"`` or ``"png"``.
        password: Of encrypted PDFs; of several, each is tried.
        image_limits: What a page's image may cost.
        on_error: ``"skip"`` to log a file or page that cannot be read as a warning, and list it in ``skipped``.
        show_progress: Show a bar that counts pages.
        max_characters: Of a document's text.

    Raises:
        OptionError: A value that is none of these.

    Example:
        >>> loader = PageImageLoader("reports")
        >>> reranker = JinaVLLMRerank(engine=engine, allowed_image_roots=("reports",))
        >>> for document in loader.lazy_load():
        ...     print(document.metadata["source"], document.metadata["page"], document.metadata["image_uri"])
        reports/2024.pdf 0 file:///home/me/reports/2024.pdf#page=1
        reports/front.jpg 0 /home/me/reports/front.jpg
    """

    def __init__(
        self,
        path: PagePaths,
        *,
        glob: str = "**/*",
        dpi: float = 150,
        pages: str | None = None,
        image_folder: str | os.PathLike[str] | None = None,
        image_format: ImageFormat = "webp",
        password: str | Sequence[str] | None = None,
        image_limits: ImageLimits = ImageLimits(),
        on_error: OnError = "raise",
        show_progress: bool = False,
        max_characters: int = 2000,
    ) -> None:
        super().__init__(
            glob=glob,
            dpi=dpi,
            pages=pages,
            image_folder=image_folder,
            image_format=image_format,
            password=password,
            image_limits=image_limits,
            on_error=on_error,
            show_progress=show_progress,
            max_characters=max_characters,
        )
        self._paths = listed(path)

    def lazy_load(self) -> Generator[Document]:
        """Yield documents, each page when its turn comes.

        Raises:
            OptionError: ``glob`` is no pattern, or ``image_folder`` cannot be written.
            PageNotFoundError: The path does not exist, or the folder has no such file. Never skipped.
            PageError: A file is damaged, encrypted, unreadable or a link out of its folder, or a page costs too much.
            ImageError: A picture is damaged or too large, or a page is.
            MissingExtraError: There is a PDF, and pypdfium2 is not installed.
        """
        with closing(self._texts_and_pages(self._paths)) as pages:
            for text, page in pages:
                yield _document(text, page)

    async def alazy_load(self) -> AsyncIterator[Document]:
        """Do as `lazy_load`, without blocking the event loop. Cancelling stops the work after the page it is at."""
        async with aclosing(iterated(self.lazy_load())) as documents:
            async for document in documents:
                yield document


def _document(text: str, page: Page) -> Document:
    metadata: dict[str, Any] = {
        "source": str(page.source),
        "page": page.number,
        "total_pages": page.n_pages,
        **image_metadata(page),
    }
    if page.label:
        metadata["page_label"] = page.label
    if page.dpi is not None:
        metadata["dpi"] = page.dpi
    return Document(text, id=page_id(page), metadata=metadata)
