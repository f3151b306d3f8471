"""One image from a path, bytes, data URI, URL, binary file, PIL image or page of a document.

Images are untrusted: their bytes, pixels, addresses and redirects are limited, and what is wrong with one is said
before any work is done, as far as its header tells::

    handle = images.inspect("scan.tiff")
    handle.size             # (2480, 3508); nothing is decoded yet
    page = handle.load()    # mode RGB, upright, on white
"""

from __future__ import annotations

from jina_vllm_integrations.images.documents import PageSource
from jina_vllm_integrations.images.handles import ImageHandle, ImageSource, inspect
from jina_vllm_integrations.images.limits import ImageLimits

__all__ = ["ImageHandle", "ImageLimits", "ImageSource", "PageSource", "inspect"]
