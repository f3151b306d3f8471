"""A page of a file that has several, as an image: drawn when it is needed, in a process with limits.

PDFs are strangers' programs for drawing. PDFium, which runs them, is never loaded into the caller's process: helper
processes (`process`) open the files and draw, one page at a time each, and their owner (`processes`) ends the one that
takes too long or too much memory, and starts another. A page comes back as pixels in shared memory, so it is neither
encoded nor decoded on its way.
"""

from __future__ import annotations

from jina_vllm_integrations.images.documents.files import DocumentFile
from jina_vllm_integrations.images.documents.jobs import ImageFormat, PageFacts
from jina_vllm_integrations.images.documents.sources import DrawnPage, PageSource

__all__ = ["DocumentFile", "DrawnPage", "ImageFormat", "PageFacts", "PageSource"]
