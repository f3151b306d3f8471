"""The pages that a framework's loader makes documents of."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from jina_vllm_integrations.adapters.page_texts import PAGE_TEXTS
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.pages import PageReader
from jina_vllm_integrations.pages.files import listed, readable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from jina_vllm_integrations.pages import ImageFormat, OnError, Page, PagePaths, SkippedPages


class PageLoading:
    """A `PageReader` and its settings, for a loader that makes documents of what ``_texts_and_pages`` yields.

    Args:
        glob: As for `PageReader`, like all that follows but ``max_characters``.
        dpi: At which PDFs are rendered.
        pages: Which pages of each document.
        image_folder: Where the images of pages are written; ``None`` for nowhere.
        image_format: Of these.
        password: Of encrypted PDFs.
        image_limits: What a page's image may cost.
        on_error: What to do about a file or page that cannot be read.
        show_progress: Show a bar.
        max_characters: Of a document's text.

    Raises:
        OptionError: A value that is none of these.
    """

    def __init__(
        self,
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
        check_count("max_characters", max_characters)
        self._max_characters = max_characters
        self._reader = PageReader(
            glob=glob,
            dpi=dpi,
            pages=pages,
            image_folder=image_folder,
            image_format=image_format,
            password=password,
            image_limits=image_limits,
            on_error=on_error,
            show_progress=show_progress,
        )

    @property
    def image_folder(self) -> Path | None:
        """Where the images of pages are written, absolute; ``None`` for nowhere."""
        return self._reader.image_folder

    @property
    def skipped(self) -> SkippedPages:
        """What the latest reading left out so far, and how many other files its folders hold."""
        return self._reader.skipped

    def _texts_and_pages(self, paths: PagePaths) -> Generator[tuple[str, Page]]:
        """Yield pages, each with the text of its document.

        Frameworks take what has equal texts for the same document. So a page without a text of its own is told apart
        from all others of this reading, in a text that does not depend on where all of it lies.
        """
        paths = listed(paths)
        above = folder_above(paths)
        with closing(self._reader.read(paths)) as pages:
            for page in pages:
                name = Path(os.path.relpath(page.source, above)).as_posix()
                text = page.excerpt(self._max_characters, name=name)
                PAGE_TEXTS.written(text)
                yield text, page


def page_id(page: Page) -> str:
    """Return an id of the page's place, which is a UUID because some vector stores take no other.

    It is the same from one reading to the next, so that a page takes its own place again.
    """
    return uri_id(f"{page.source.absolute().as_uri()}#page={page.number + 1}")


def uri_id(uri: str) -> str:
    """Return an id of a place, a UUID likewise."""
    return str(uuid5(NAMESPACE_URL, uri))


def image_metadata(page: Page) -> dict[str, Any]:
    """Return what a document's metadata says of its image, which is found there by ``"image_uri"``."""
    return {
        "image_uri": page.image.uri,
        "image_sha256": page.image.sha256,
        "width": page.image.size[0],
        "height": page.image.size[1],
    }


def folder_above(paths: Iterable[Path]) -> str:
    """Return the folder above all that is read: the folders that were named, and those of files that were.

    Paths from there tell all of it apart, each with a folder's name at least.

    Raises:
        PageNotFoundError: A path cannot be looked at.
    """
    folders = [_folder(path) for path in paths]
    return os.path.commonpath([folder.parent for folder in folders]) if folders else os.curdir


def _folder(path: Path) -> Path:
    path = Path(os.path.normpath(path.absolute()))
    with readable(path):
        return path if path.is_dir() else path.parent
