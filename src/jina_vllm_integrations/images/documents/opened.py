"""The document that a process has open."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from jina_vllm_integrations.images.documents.pdfs import open_pdf
from jina_vllm_integrations.images.documents.tiffs import open_tiff

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from jina_vllm_integrations.images.documents.jobs import OpenDocument, Opening


class OpenedDocuments:
    """Keeps the last document open, since its next page is likely to be asked for next."""

    def __init__(self) -> None:
        self._opening: Opening | None = None
        self._document: OpenDocument
        self._closing = ExitStack()

    def opened(self, file: int, opening: Opening) -> OpenDocument:
        """Return a document.

        Args:
            file: Its descriptor, which is closed with it.
            opening: How it is opened.

        Raises:
            InputError: It is damaged, or no password opens it.
        """
        if self._opening == opening:
            os.close(file)
            return self._document
        self._opening = None
        self._closing.close()
        self._closing.callback(os.close, file)
        path = f"/proc/self/fd/{file}"
        self._document = self._closing.enter_context(_opened(path, opening))
        self._opening = opening
        return self._document


def _opened(path: str, opening: Opening) -> AbstractContextManager[OpenDocument]:
    if opening.is_pdf:
        return open_pdf(path, opening.label, opening.passwords)
    return open_tiff(path, opening.label)
