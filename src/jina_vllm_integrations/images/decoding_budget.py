"""How many pixels this process decodes at once, in all its threads.

A file of a few hundred bytes may declare as many pixels as the limits allow. One such image is a moment's gigabyte;
of eight, seven wait.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jina_vllm_integrations.images.limits import ImageLimits
from jina_vllm_integrations.images.tiff import TiffFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

# Most decoders take 8 to 12 bytes a pixel, the finished picture included. These have canvases of their own beside it:
# how many times as much they take.
_WORK = {"AVIF": 2, "HEIF": 2, "JPEG2000": 3, "WEBP": 3}


class PixelBudget:
    """Pixels that are shared by whoever decodes. First come, first served, so small images do not keep out a large one.

    Args:
        n_pixels: How many there are. An image that has more is decoded alone.
    """

    def __init__(self, n_pixels: int) -> None:
        self._n_pixels = self._left = n_pixels
        self._turn = threading.Lock()
        self._given_back = threading.Condition()

    @contextmanager
    def take(self, image: Image.Image) -> Iterator[None]:
        """Take what an image needs, for as long as this lasts; wait until it is there."""
        n_pixels = min(_n_pixels(image), self._n_pixels)
        with self._turn, self._given_back:
            self._given_back.wait_for(lambda: self._left >= n_pixels)
            self._left -= n_pixels
        try:
            yield
        finally:
            with self._given_back:
                self._left += n_pixels
                self._given_back.notify()


def _n_pixels(image: Image.Image) -> int:
    if isinstance(image, TiffFile):
        return image.stored_pixels
    return image.width * image.height * _WORK.get(image.format or "", 1)


DECODING = PixelBudget(ImageLimits().max_pixels)
"""This process's: 2 GB or less, unless a single picture takes more."""
