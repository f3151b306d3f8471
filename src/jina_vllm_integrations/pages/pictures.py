"""Pictures, each of which is a page."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.opening import open_file
from jina_vllm_integrations.images import inspect
from jina_vllm_integrations.images.damage import explained
from jina_vllm_integrations.images.decoding import open_image
from jina_vllm_integrations.images.documents.tiffs import resolution
from jina_vllm_integrations.images.formats import LONGEST_SIGNATURE, recognised
from jina_vllm_integrations.images.shapes import check_shape
from jina_vllm_integrations.images.tiff import TiffFile, frames_of, page_frames
from jina_vllm_integrations.pages.files import readable
from jina_vllm_integrations.pages.records import Page, PageImage

if TYPE_CHECKING:
    from pathlib import Path

    from jina_vllm_integrations.images import ImageLimits
    from jina_vllm_integrations.pages.files import PageFile


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file that is one page, as it is.

    Attributes:
        file: The file.
        dpi: What it says.
        limits: What it may cost.
    """

    file: PageFile
    dpi: float | None
    limits: ImageLimits

    @classmethod
    def of(cls, file: PageFile, limits: ImageLimits) -> Self | None:
        """Look at a file; ``None`` for a TIFF with several pages.

        Raises:
            ImageError: It is no image, or is damaged or too large.
            PageNotFoundError: It cannot be opened.
        """
        label = str(file.path)
        with file.opened() as content:
            image = open_image(content, label, max_pixels=limits.max_pixels)
            picture = cls(file=file, dpi=resolution(image), limits=limits)
            return picture if frames_of(image, content, label) == [0] else None

    def read(self) -> Page | InputError:
        """Return it, checked by decoding it: what is handed out can be embedded. Or why it cannot be."""
        try:
            return self._checked()
        except InputError as error:
            return error

    def _checked(self) -> Page:
        handle = inspect(self.file.source, self.limits).pinned()  # what is hashed is what was checked
        assert handle.size is not None
        check_shape(*handle.size, str(self.file.path))
        image = handle.load()
        assert isinstance(handle.origin, bytes)
        path = self.file.path.absolute()
        sha256 = hashlib.sha256(handle.origin).hexdigest()
        return Page(
            source=self.file.path,
            number=0,
            n_pages=1,
            image=PageImage(source=path, uri=str(path), sha256=sha256, size=image.size),
            dpi=self.dpi,
        )


def has_several_pages(path: Path) -> bool:
    """Return whether a file begins like a TIFF and has several pages.

    Raises:
        ImageError: It begins like one, and its list of frames is damaged.
        PageNotFoundError: It cannot be opened.
    """
    label = str(path)
    with readable(path), open_file(path) as content, explained(label):
        kind = recognised(content.read(LONGEST_SIGNATURE))
        return kind is not None and kind.decoder is TiffFile and len(page_frames(content, label)) > 1
