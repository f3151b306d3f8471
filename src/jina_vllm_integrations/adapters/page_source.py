"""The pages that a framework's loader makes documents of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.pages import PageReader

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from jina_vllm_integrations.pages import OnError, Page, SkippedPage


class PageSource:
    """A `PageReader` and its settings, for a loader that makes documents of what ``_reader`` reads.

    Args:
        glob: As for `PageReader`, like all that follows but ``max_characters``.
        dpi: At which PDFs are rendered.
        image_folder: Where rendered pages go.
        password: Of encrypted PDFs.
        image_limits: What a page's image may cost.
        on_error: What to do about a file or page that cannot be read.
        show_progress: Show a bar.
        max_characters: Of a document's text.

    Raises:
        OptionError: A value that is none of these.
    """

    def __init__(
        self,
        *,
        glob: str = "**/*",
        dpi: float = 150,
        image_folder: str | os.PathLike[str] | None = None,
        password: str | Sequence[str] | None = None,
        image_limits: ImageLimits = ImageLimits(),
        on_error: OnError = "raise",
        show_progress: bool = False,
        max_characters: int = 2000,
    ) -> None:
        check_count("max_characters", max_characters)
        self._max_characters = max_characters
        self._reader = PageReader(
            glob=glob,
            dpi=dpi,
            image_folder=image_folder,
            password=password,
            image_limits=image_limits,
            on_error=on_error,
            show_progress=show_progress,
        )

    @property
    def image_folder(self) -> Path:
        """Where rendered pages go, absolute."""
        return self._reader.image_folder

    @property
    def skipped(self) -> list[SkippedPage]:
        """What the latest reading left out so far."""
        return self._reader.skipped

    def _text(self, page: Page) -> str:
        return page.excerpt(self._max_characters)


def image_metadata(page: Page) -> dict[str, Any]:
    """Return what a document's metadata says of its image, which is found there by ``"image_uri"``."""
    return {
        "image_uri": str(page.image.path),
        "image_sha256": page.image.sha256,
        "width": page.image.size[0],
        "height": page.image.size[1],
    }
