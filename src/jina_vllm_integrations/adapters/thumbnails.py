"""Pages small enough to be put before a language model."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from jina_vllm_integrations.images import inspect

if TYPE_CHECKING:
    from jina_vllm_integrations.images import ImageLimits, ImageSource

MIME_TYPE = "image/jpeg"
"""Of every thumbnail. JPEG's size has a bound for any picture, and of a scan it is a quarter of PNG's."""

LEAST_BYTES = 1024
"""A JPEG of one pixel takes 631."""

_QUALITY = 85  # small print stays free of visible artefacts


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Makes thumbnails, upright and on white, and never larger than the image itself.

    Attributes:
        side: The longest one, in pixels.
        max_bytes: Of the encoded thumbnail, at least `LEAST_BYTES`. One that has more is made smaller.
        limits: What an image may cost.
    """

    side: int
    max_bytes: int
    limits: ImageLimits

    def of(self, source: ImageSource) -> bytes:
        """Return an image's thumbnail as JPEG.

        Raises:
            InputError: As `images.inspect`, and as `ImageHandle.load`.
        """
        page = inspect(source, self.limits).load()
        side = min(self.side, max(page.size))
        while len(content := _smaller(page, side)) > self.max_bytes:
            side = side * 3 // 4
        return content


def jpeg(page: Image.Image) -> bytes:
    """Return an image, of no more pixels than JPEG can have, as a file's bytes of `MIME_TYPE`."""
    file = io.BytesIO()
    page.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _smaller(page: Image.Image, side: int) -> bytes:
    """Scale an image down in place, and encode it."""
    page.thumbnail((side, side), Image.Resampling.LANCZOS)
    return jpeg(page)
