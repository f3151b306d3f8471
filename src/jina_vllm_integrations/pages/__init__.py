"""Pages of PDFs, scans and pictures as images that can be embedded, one at a time.

A page of a PDF, and of a TIFF that has several, is drawn when it is needed; a picture stays where it is::

    for page in PageReader(dpi=150).read("reports"):
        page.image.source   # PageSource(...) or a path: what JinaEncoder embeds
        page.image.uri      # "file:///home/me/reports/2024.pdf#page=1": the same, for metadata
        page.text           # the PDF's text layer, "" for none

PDFs need the extra ``pdf``.
"""

from __future__ import annotations

from jina_vllm_integrations.foundation.skipping import OnError
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.documents import ImageFormat
from jina_vllm_integrations.pages.files import PagePaths
from jina_vllm_integrations.pages.image_folder import ImageFolder
from jina_vllm_integrations.pages.reading import PageReader
from jina_vllm_integrations.pages.records import Page, PageImage, SkippedPage, SkippedPages

__all__ = [
    "ImageFolder",
    "ImageFormat",
    "OnError",
    "Page",
    "PageImage",
    "PagePaths",
    "PageReader",
    "PageSource",
    "SkippedPage",
    "SkippedPages",
]
