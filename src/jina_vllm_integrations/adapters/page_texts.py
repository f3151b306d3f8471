"""The texts that loaders write for pages with an image, and who embeds them in the image's place."""

from __future__ import annotations

import logging
from collections.abc import Sequence

logger = logging.getLogger(__name__)

# The first are enough: who loads pages and embeds their texts begins with them.
_MOST = 10_000


class PageTexts:
    """Notices that a page's text is embedded where its image was meant, and says so once a process.

    A vector store of either framework asks its embeddings for the vectors of texts, and knows of no images. What it
    then finds are texts, without an error to show it.
    """

    def __init__(self) -> None:
        self._hashes: set[int] = set()
        self._warned = False

    def written(self, text: str) -> None:
        """Note that a loader wrote a text for a page with an image."""
        if not self._warned and len(self._hashes) < _MOST:
            self._hashes.add(hash(text))

    def embedded(self, texts: object, remedy: str) -> None:
        """Log a warning if one of these texts was written for a page, the first time that it is.

        Args:
            texts: What is embedded. What is no text is passed over, and so is an iterable that can be read only once.
            remedy: How the images are embedded, in a whole sentence.
        """
        if not self._hashes or not isinstance(texts, Sequence):
            return
        if not any(isinstance(text, str) and hash(text) in self._hashes for text in texts):
            return
        self._warned, self._hashes = True, set()
        logger.warning(
            "the text of a page is embedded that has an image, not the image: searches will find what its text layer "
            "says, or its file's name. %s If the text is meant, all is well. This is said once.",
            remedy,
        )


PAGE_TEXTS = PageTexts()
"""This process's."""
