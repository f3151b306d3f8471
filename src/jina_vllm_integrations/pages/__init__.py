"""Pages of PDFs, scans and pictures as image files, one at a time.

A PDF's pages, and those of a TIFF that has several, are rendered into a folder, by content: the same page is the same
file however often it is read. A picture stays where it is::

    for page in PageReader(dpi=150).read("reports"):
        page.image.path     # a PNG, JPEG, ... that exists
        page.text           # the PDF's text layer, "" for none

PDFs need the extra ``pdf``.
"""

from __future__ import annotations

from jina_vllm_integrations.foundation.skipping import OnError
from jina_vllm_integrations.pages.files import PagePaths
from jina_vllm_integrations.pages.reading import PageReader
from jina_vllm_integrations.pages.records import Page, PageImage, SkippedPage, SkippedPages

__all__ = ["OnError", "Page", "PageImage", "PagePaths", "PageReader", "SkippedPage", "SkippedPages"]
