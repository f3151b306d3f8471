"""Says that of a file with several pages only the first is taken."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from jina_vllm_integrations.images.tiff import TiffFile, has_pages

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)


class FirstPages:
    """Notices that a file has pages which are left out, and says so once a process.

    Whoever embeds a scan of ten pages gets one vector, without an error to show it.
    """

    def __init__(self) -> None:
        self._warned = False

    def taken(self, image: Image.Image, label: str) -> None:
        """Log a warning if an opened image has pages behind its first, the first time that one has."""
        if self._warned or not isinstance(image, TiffFile) or not _has_pages(image):
            return
        self._warned = True
        logger.warning(
            "%r has several pages, and as an image it is only the first of them. Read its pages one by one with "
            "jina_vllm_integrations.pages.PageReader, or with PageImageLoader (LangChain) or PageImageReader "
            "(LlamaIndex). This is said once.",
            label,
        )


def _has_pages(tiff: TiffFile) -> bool:
    assert tiff.fp is not None
    place = tiff.fp.tell()
    try:
        return has_pages(tiff.fp)
    except Exception:  # noqa: BLE001 - a damaged list of frames leads to anything, and the first may be fine
        return False
    finally:
        tiff.fp.seek(place)


FIRST_PAGES = FirstPages()
"""This process's."""
