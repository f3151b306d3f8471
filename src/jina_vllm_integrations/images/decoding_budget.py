"""How many pixels this process decodes at once, in all its threads.

A file of a few hundred bytes may declare as many pixels as the limits allow. One such image is a moment's gigabyte;
of eight, seven wait.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jina_vllm_integrations.images.limits import ImageLimits
from jina_vllm_integrations.images.webp import WebPFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

_CANVASES_OF_WEBP = 2


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
    """Return how many pixels an image has, with those of its decoder's own canvases."""
    canvases = 1 + (_CANVASES_OF_WEBP if isinstance(image, WebPFile) else 0)
    return image.width * image.height * canvases


DECODING = PixelBudget(ImageLimits().max_pixels)
"""This process's."""
