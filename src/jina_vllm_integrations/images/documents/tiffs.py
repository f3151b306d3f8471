"""The pages of a TIFF, as scanners write them."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, TiffImagePlugin

from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images.decoding import DAMAGE, check, open_image, to_rgb, upright_size
from jina_vllm_integrations.images.documents.jobs import PageFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

# A TIFF's tag that says what a frame is, and the bits of it for a smaller copy and for a mask of another frame.
_NEW_SUBFILE_TYPE = 254
_NO_PAGE = 0b101


@dataclass(frozen=True, kw_only=True)
class OpenTiff:
    """An open TIFF whose frames are pages.

    Attributes:
        tiff: Open.
        frames: Which of its frames are pages.
        label: Which it is, for messages.
    """

    tiff: Image.Image
    frames: list[int]
    label: str

    def __len__(self) -> int:
        return len(self.frames)

    def facts(self, number: int, *, dpi: float, max_pixels: int, text: bool) -> PageFacts:  # noqa: ARG002 - it has its own, and no text
        """Look at a frame.

        Raises:
            ImageError: There is none, or it is damaged or too large.
        """
        self._turn_to(number, max_pixels)
        return PageFacts(size=upright_size(self.tiff), dpi=resolution(self.tiff))

    def drawn(self, number: int, *, dpi: float, max_pixels: int) -> npt.NDArray[np.uint8]:  # noqa: ARG002
        """Decode a frame.

        Raises:
            ImageError: There is none, or it is damaged or too large.
        """
        self._turn_to(number, max_pixels)
        return np.asarray(to_rgb(self.tiff, self._place(number)))

    def _turn_to(self, number: int, max_pixels: int) -> None:
        place = self._place(number)
        if not 0 <= number < len(self.frames):
            raise ImageFormatError(
                f"a file must have the page that is asked for; {place!r} is none of {len(self)}. Correct the number."
            )
        with _explained(place):
            self.tiff.seek(self.frames[number])
        check(self.tiff, place, max_pixels=max_pixels)

    def _place(self, number: int) -> str:
        return f"page {number + 1} of {self.label}"


@contextmanager
def open_tiff(path: str, label: str) -> Iterator[OpenTiff]:
    """Open a TIFF for reading its pages.

    Args:
        path: The file.
        label: What messages call it.

    Raises:
        ImageError: It is no image, or is damaged.
    """
    with Path(path).open("rb") as file:
        image = open_image(file, label, max_pixels=sys.maxsize)
        yield OpenTiff(tiff=image, frames=page_frames(image, label), label=label)


def page_frames(image: Image.Image, label: str) -> list[int]:
    """Return the frames of an open image that are pages: of an animation, only the first.

    Raises:
        ImageFormatError: It is damaged.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return [0]
    with _explained(label):
        return [frame for frame in range(image.n_frames) if _is_page(image, frame)] or [0]


def resolution(image: Image.Image) -> float | None:
    """Return pixels an inch; ``None`` if there is no one number for both directions."""
    match image.info.get("dpi"):
        case (Real() as across, Real() as down) if across == down and 0 < float(across) < math.inf:
            return round(float(across), 2)
    return None


def _is_page(tiff: TiffImagePlugin.TiffImageFile, frame: int) -> bool:
    tiff.seek(frame)
    kind: int = tiff.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
    return not kind & _NO_PAGE


@contextmanager
def _explained(label: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise ImageFormatError(
            f"an image must be complete and undamaged; {label!r} cannot be read ({error or type(error).__name__}). "
            "Export or download it again."
        ) from error
