"""Pictures, each of which is a page; and TIFF files with several, as scanners write them."""

from __future__ import annotations

import hashlib
import math
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, BinaryIO

from PIL import TiffImagePlugin

from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images import inspect
from jina_vllm_integrations.images.decoding import DAMAGE, check, open_image, to_rgb
from jina_vllm_integrations.pages.records import Page, PageImage, Pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

    from jina_vllm_integrations.foundation.opening import FileSource
    from jina_vllm_integrations.images import ImageLimits
    from jina_vllm_integrations.pages.files import PageFile
    from jina_vllm_integrations.pages.image_folder import ImageFolder

# A TIFF's tag that says what a frame is, and the bits of it for a smaller copy and for a mask of another frame.
_NEW_SUBFILE_TYPE = 254
_NO_PAGE = 0b101


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file that is one page, as it is.

    Attributes:
        path: The file.
        source: What is opened.
        dpi: What it says.
        limits: What it may cost.
    """

    path: Path
    source: FileSource
    dpi: float | None
    limits: ImageLimits

    def __len__(self) -> int:
        return 1

    def page(self, number: int) -> Page:
        """Check the picture, by decoding it: what is handed out can be embedded.

        Raises:
            ImageError: It is damaged or too large.
        """
        handle = inspect(self.source, self.limits).pinned()  # what is hashed is what was checked
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
            ImageError: It is damaged or too large.
        """
        place = f"page {number + 1} of {self.path}"
        with _explained(place):
            self.tiff.seek(self.frames[number])
        check(self.tiff, place, max_pixels=self.images.limits.max_pixels)
        return Page(
            source=self.path,
            number=number,
            n_pages=len(self),
            image=self.images.keep(to_rgb(self.tiff, place), place),
            dpi=_dpi(self.tiff),
        )


@contextmanager
def open_picture(content: BinaryIO, file: PageFile, *, images: ImageFolder) -> Iterator[Pages]:
    """Open a picture, or a scan of several pages.

    Args:
        content: The open file.
        file: Which it is.
        images: Where the rendered pages of a scan go, and what an image may cost.

    Raises:
        ImageError: It is no image, or is damaged or too large.
        PageError: It is a link out of its folder by now.
    """
    image = open_image(content, str(file.path), max_pixels=images.limits.max_pixels)
    dpi = _dpi(image)
    frames = _page_frames(image, str(file.path))
    if frames == [0]:
        yield Picture(path=file.path, source=file.source, dpi=dpi, limits=images.limits)
    else:
        yield Scan(tiff=image, frames=frames, path=file.path, images=images)


def _page_frames(image: Image.Image, label: str) -> list[int]:
    """Return the frames that are pages: of an animation, only the first."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return [0]
    with _explained(label):
        return [frame for frame in range(image.n_frames) if _is_page(image, frame)] or [0]


def _is_page(tiff: TiffImagePlugin.TiffImageFile, frame: int) -> bool:
    tiff.seek(frame)
    kind: int = tiff.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
    return not kind & _NO_PAGE


def _dpi(image: Image.Image) -> float | None:
    """Return pixels an inch; ``None`` if there is no one number for both directions."""
    match image.info.get("dpi"):
        case (Real() as across, Real() as down) if across == down and 0 < float(across) < math.inf:
            return round(float(across), 2)
    return None


@contextmanager
def _explained(label: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise ImageFormatError(
            f"an image must be complete and undamaged; {label!r} cannot be read ({error or type(error).__name__}). "
            "Export or download it again."
        ) from error
