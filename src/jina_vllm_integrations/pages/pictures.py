"""Pictures, each of which is a page; and TIFF files with several, as scanners write them."""

from __future__ import annotations

import hashlib
import math
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

from jina_vllm_integrations.images import inspect
from jina_vllm_integrations.images.damage import explained
from jina_vllm_integrations.images.decoding import check, open_image, to_rgb
from jina_vllm_integrations.images.tiff import TiffFile, page_frames
from jina_vllm_integrations.model.shapes import check_shape
from jina_vllm_integrations.pages.files import opened
from jina_vllm_integrations.pages.records import Page, PageImage, Pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

    from jina_vllm_integrations.images import ImageLimits
    from jina_vllm_integrations.pages.image_folder import ImageFolder


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file that is one page, as it is.

    Attributes:
        path: The file.
        dpi: What it says.
        limits: What it may cost.
    """

    path: Path
    dpi: float | None
    limits: ImageLimits

    def __len__(self) -> int:
        return 1

    def page(self, number: int) -> Page:
        """Check the picture, by decoding it: what is handed out can be embedded.

        Raises:
            ImageError: It is damaged or too large, or so flat that the model does not take it.
        """
        handle = inspect(self.path, self.limits).pinned()  # what is hashed is what was checked
        assert handle.size is not None
        check_shape(*handle.size, str(self.path))
        image = handle.load()
        assert isinstance(handle.origin, bytes)
        sha256 = hashlib.sha256(handle.origin).hexdigest()
        return Page(
            source=self.path,
            number=number,
            n_pages=1,
            image=PageImage(path=self.path.absolute(), sha256=sha256, size=image.size),
            dpi=self.dpi,
        )


@dataclass(frozen=True, kw_only=True)
class Scan:
    """An open TIFF whose frames are pages.

    Attributes:
        tiff: Open.
        frames: Which of its frames are pages.
        path: The file.
        images: Where the rendered pages go.
    """

    tiff: Image.Image
    frames: list[int]
    path: Path
    images: ImageFolder

    def __len__(self) -> int:
        return len(self.frames)

    def page(self, number: int) -> Page:
        """Render a frame.

        Raises:
            ImageError: It is damaged or too large, or so flat that the model does not take it.
        """
        place = f"page {number + 1} of {self.path}"
        with explained(place):
            self.tiff.seek(self.frames[number])
        check(self.tiff, place, max_pixels=self.images.limits.max_pixels)
        check_shape(*self.tiff.size, place)
        return Page(
            source=self.path,
            number=number,
            n_pages=len(self),
            image=self.images.keep(to_rgb(self.tiff, place), place),
            dpi=_dpi(self.tiff),
        )


@contextmanager
def open_picture(path: Path, *, images: ImageFolder) -> Iterator[Pages]:
    """Open a picture, or a scan of several pages.

    Args:
        path: The file.
        images: Where the rendered pages of a scan go, and what an image may cost.

    Raises:
        ImageError: It is no image, or is damaged or too large.
        PageNotFoundError: It cannot be opened.
    """
    with opened(path) as file:
        image = open_image(file, str(path), max_pixels=images.limits.max_pixels)
        dpi = _dpi(image)
        frames = [0]  # of an animation, only the first is a page
        if isinstance(image, TiffFile):
            with explained(str(path)):
                frames = page_frames(file, str(path))
        if frames == [0]:
            yield Picture(path=path, dpi=dpi, limits=images.limits)
        else:
            yield Scan(tiff=image, frames=frames, path=path, images=images)


def _dpi(image: Image.Image) -> float | None:
    """Return pixels an inch; ``None`` if there is no one number for both directions."""
    match image.info.get("dpi"):
        case (Real() as across, Real() as down) if across == down and 0 < float(across) < math.inf:
            return round(float(across), 2)
    return None
