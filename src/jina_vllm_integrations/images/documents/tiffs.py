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

from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images.damage import explained
from jina_vllm_integrations.images.decoding import check, open_image, to_rgb, upright_size
from jina_vllm_integrations.images.documents.jobs import PageFacts
from jina_vllm_integrations.images.shapes import check_shape
from jina_vllm_integrations.images.tiff import frames_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from PIL import Image


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
        with explained(place):
            self.tiff.seek(self.frames[number])
        check(self.tiff, place, max_pixels=max_pixels)
        check_shape(*self.tiff.size, place)

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
        yield OpenTiff(tiff=image, frames=frames_of(image, file, label), label=label)


def resolution(image: Image.Image) -> float | None:
    """Return pixels an inch; ``None`` if there is no one number for both directions."""
    match image.info.get("dpi"):
        case (Real() as across, Real() as down) if across == down and 0 < float(across) < math.inf:
            return round(float(across), 2)
    return None
