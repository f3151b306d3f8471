"""Reads the pages of files, one at a time."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.foundation.progress import progress_bar
from jina_vllm_integrations.foundation.skipping import OnError, unchained
from jina_vllm_integrations.images import ImageLimits, PageSource
from jina_vllm_integrations.images.documents import DocumentFile, ImageFormat
from jina_vllm_integrations.images.documents.jobs import check_dpi, checked_passwords
from jina_vllm_integrations.pages.choices import PageChoice
from jina_vllm_integrations.pages.documents import Document
from jina_vllm_integrations.pages.files import listed
from jina_vllm_integrations.pages.folders import page_files
from jina_vllm_integrations.pages.image_folder import ImageFolder
from jina_vllm_integrations.pages.pictures import Picture, has_several_pages
from jina_vllm_integrations.pages.records import SkippedPage, SkippedPages

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Sequence

    from jina_vllm_integrations.pages.files import PageFile, PagePaths
    from jina_vllm_integrations.pages.records import Page

logger = logging.getLogger(__name__)


class PageReader:
    """Reads PDFs, scans and pictures page by page, in the memory of one.

    A file is a PDF by its suffix or its first bytes, and otherwise a picture in one of the formats that are embedded.
    Each page of a PDF is an image, as a reader sees it: upright, with annotations and form fields. So is each frame of
    a TIFF that has several, except smaller copies and masks. Any other picture is one page, and stays where it is.

    A page is drawn when it is needed, and not before: to be embedded, or shown. Its text and size are read at once. All
    of this happens in processes of their own, with limits of time and memory (`ImageLimits`): a page that takes more
    is an error of its own, and takes no other along.

    Making one reads nothing. May be used by many threads at once.

    Args:
        glob: Which files of a folder to read, as for `Path.glob`. Of these, only PDFs and pictures, by suffix, or by
            content where the suffix says nothing, and none that is hidden. How many others there are is logged.
        dpi: At which PDFs are drawn. A page that would have more pixels than ``image_limits`` allow is drawn at as many
            as fit.
        pages: Which pages of each PDF, and of each TIFF that has several, as one would print them: ``"1-3,7,20-"``,
            from 1; read in the document's order, each once. Those behind a document's end are passed over, because
            documents have different lengths; that one has none of these is logged as a warning. Pictures are read in
            any case. ``None`` for all pages.
        image_folder: Where the images of pages are written, by content, for who needs them as files. A folder that
            does not exist is made, for this user alone; `ImageFolder.clean` removes what is needed no more. ``None``
            to write none.
        image_format: Of these files: ``"webp"``, ``"jpeg"`` or ``"png"``.
        password: Of encrypted PDFs; of several, each is tried.
        image_limits: What a page's image may cost, whether it is a picture or drawn.
        on_error: ``"skip"`` to log a file or page that cannot be read as a warning, and list it in ``skipped``. Of a
            PDF or scan with a damaged page, the others are read.
        show_progress: Show a bar that counts pages.

    Attributes:
        image_folder: Where the images of pages are written, absolute; ``None`` for nowhere.
        skipped: What the latest reading left out so far, and how many files of its folders were none to read.

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
    ) -> None:
        check_choice("on_error", on_error, OnError)
        check_choice("image_format", image_format, ImageFormat)
        check_dpi(dpi)
        self.image_folder = None if image_folder is None else Path(image_folder).absolute()
        self.skipped = SkippedPages()
        self._glob = glob
        self._dpi = float(dpi)
        self._choice = PageChoice.parse(pages)
        self._limits = image_limits
        self._images = (
            None
            if self.image_folder is None
            else ImageFolder(path=self.image_folder, image_format=image_format, limits=image_limits)
        )
        passwords = () if password is None else (password,) if isinstance(password, str) else password
        self._passwords = checked_passwords(passwords)
        self._on_error = on_error
        self._show_progress = show_progress

    def read(self, paths: PagePaths) -> Generator[Page]:
        """Yield pages, each when its turn comes.

        Args:
            paths: A file, a folder, which is searched to any depth in the order of names, or several of them.

        Raises:
            OptionError: Something is no path or pattern, or ``image_folder`` cannot be written.
            PageNotFoundError: A path that was named does not exist, or a folder has no such file. Raised before
                anything is read, and never skipped.
            PageError: A file is damaged, encrypted, unreadable or a link out of its folder, or a page costs too much.
            ImageError: A picture is damaged, too large or too flat for the model, or a page is.
            MissingExtraError: There is a PDF, and pypdfium2 is not installed.
        """
        skipped = self.skipped = SkippedPages()
        found = page_files(listed(paths), glob=self._glob, images=self._images)
        skipped.other_files.update(found.others)
        with progress_bar(None, "reading", shown=self._show_progress) as bar:
            for file in found.files:
                with self._skipping(skipped, file), closing(self._pages(file)) as pages:
                    for number, page in pages:
                        with self._skipping(skipped, file, number):
                            if isinstance(page, InputError):
                                raise page
                            yield page
                            bar.update()

    def images(self, path: str | os.PathLike[str]) -> Iterator[Path | PageSource]:
        """Yield what is embedded of one file, without looking at its pages: for who needs no texts and sizes.

        Pages that cannot be read are among it, and are found out by whoever embeds them.

        Returns:
            An iterator of its pages that were chosen, in order; or of the path, as it was given, for a picture.

        Raises:
            PageError: The file cannot be opened; or it is a PDF or a TIFF, and damaged, encrypted, or costs too much.
            ImageError: It is a TIFF, and damaged.
            MissingExtraError: It is a PDF, and pypdfium2 is not installed.
        """
        (path,) = listed(path)
        document = DocumentFile.of(path.absolute(), self._passwords)
        if not document.is_pdf and not has_several_pages(path):
            yield path
            return
        for number in self._choice.of(document.n_pages(self._limits)):
            yield PageSource(path, number + 1, dpi=self._dpi, passwords=self._passwords)

    def _pages(self, file: PageFile) -> Generator[tuple[int, Page | InputError]]:
        document = DocumentFile.of(file.source, self._passwords)
        picture = None if document.is_pdf else Picture.of(file, self._limits)
        if picture is not None:
            yield 0, picture.read()
            return
        n_pages = document.n_pages(self._limits)
        numbers = self._choice.of(n_pages)
        if not numbers:
            logger.warning("nothing read of %r: its %d pages are not among those chosen", str(file.path), n_pages)
        yield from Document(
            file=document,
            path=file.path,
            n_pages=n_pages,
            numbers=numbers,
            dpi=self._dpi,
            limits=self._limits,
            images=self._images,
        ).read()

    @contextmanager
    def _skipping(self, skipped: SkippedPages, file: PageFile, number: int | None = None) -> Iterator[None]:
        """Leave out a file or page that cannot be read, if that was chosen."""
        try:
            yield
        except InputError as error:
            if self._on_error == "raise":
                raise
            logger.warning("skipped: %s", error)
            skipped.append(SkippedPage(source=file.path, number=number, error=unchained(error)))
