"""Reads the pages of files, one at a time."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import InputError, OptionError
from jina_vllm_integrations.foundation.cache import cache_directory
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.foundation.progress import progress_bar
from jina_vllm_integrations.foundation.skipping import OnError, unchained
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.pages.files import listed
from jina_vllm_integrations.pages.folders import page_files
from jina_vllm_integrations.pages.image_folder import ImageFolder
from jina_vllm_integrations.pages.pdfs import open_pdf
from jina_vllm_integrations.pages.pictures import open_picture
from jina_vllm_integrations.pages.records import SkippedPage, SkippedPages

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from jina_vllm_integrations.pages.files import PageFile, PagePaths
    from jina_vllm_integrations.pages.records import Page, Pages

logger = logging.getLogger(__name__)


class PageReader:
    """Reads PDFs, scans and pictures page by page, in the memory of one.

    A file is a PDF by its suffix or its first bytes, and otherwise a picture in one of the formats that are embedded.
    Of a PDF each page is rendered, as a reader sees it: upright, with annotations and form fields. Of a TIFF with
    several frames each is a page, and is made a PNG as well; smaller copies and masks among them are none. Any other
    picture is one page, and stays where it is.

    Making one reads nothing. May be used by many threads at once; PDFium renders one page at a time for all of them.

    Args:
        glob: Which files of a folder to read, as for `Path.glob`. Of these, only PDFs and pictures, by suffix, or by
            content where the suffix says nothing, and none that is hidden. How many others there are is logged.
        dpi: At which PDFs are rendered. A page that would have more pixels than ``image_limits`` allow is rendered at
            as many as fit.
        image_folder: Where rendered pages go, by content; nothing in it is ever removed. A folder that does not exist
            is made, for this user alone. ``None`` for ``pages`` in the user's cache.
        password: Of encrypted PDFs; of several, each is tried.
        image_limits: What a page's image may cost, whether it is a picture or rendered.
        on_error: ``"skip"`` to log a file or page that cannot be read as a warning, and list it in ``skipped``. Of a
            PDF or scan with a damaged page, the others are read.
        show_progress: Show a bar that counts pages.

    Attributes:
        image_folder: Where rendered pages go, absolute.
        skipped: What the latest reading left out so far, and how many files of its folders were none to read.

    Raises:
        OptionError: A value that is none of these.
    """

    def __init__(
        self,
        *,
        glob: str = "**/*",
        dpi: float = 150,
        image_folder: str | os.PathLike[str] | None = None,
        password: str | Sequence[str] | None = None,
        image_limits: ImageLimits = ImageLimits(),
        on_error: OnError = "raise",
        show_progress: bool = False,
    ) -> None:
        check_choice("on_error", on_error, OnError)
        if not isinstance(dpi, int | float) or not 0 < dpi < math.inf:
            raise OptionError(f"dpi must be a positive number of pixels an inch, got {dpi!r}. 150 suits most pages.")
        self.image_folder = cache_directory() / "pages" if image_folder is None else Path(image_folder).absolute()
        self.skipped = SkippedPages()
        self._glob = glob
        self._dpi = dpi
        self._images = ImageFolder(path=self.image_folder, limits=image_limits)
        self._passwords = () if password is None else (password,) if isinstance(password, str) else tuple(password)
        self._on_error = on_error
        self._show_progress = show_progress

    def read(self, paths: PagePaths) -> Generator[Page]:
        """Yield pages, each rendered when its turn comes.

        Args:
            paths: A file, a folder, which is searched to any depth in the order of names, or several of them.

        Raises:
            OptionError: Something is no path or pattern, or ``image_folder`` cannot be written.
            PageNotFoundError: A path that was named does not exist, or a folder has no such file. Raised before
                anything is rendered, and never skipped.
            PageError: A file is damaged, encrypted, unreadable or a link out of its folder.
            ImageError: A picture is damaged, too large or too flat for the model, or a rendered page is.
            MissingExtraError: There is a PDF, and pypdfium2 is not installed.
        """
        skipped = self.skipped = SkippedPages()
        found = page_files(listed(paths), glob=self._glob, images=self._images)
        skipped.other_files.update(found.others)
        with progress_bar(None, "reading", shown=self._show_progress) as bar:
            for file in found.files:
                with self._skipping(skipped, file), self._opened(file) as pages:
                    for number in range(len(pages)):
                        with self._skipping(skipped, file, number):
                            yield pages.page(number)
                            bar.update()

    def _opened(self, file: PageFile) -> AbstractContextManager[Pages]:
        file.check()
        if file.is_pdf():
            return open_pdf(file.path, passwords=self._passwords, dpi=self._dpi, images=self._images)
        return open_picture(file.path, images=self._images)

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
