"""Where the images of rendered pages are, by content."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import ImageSizeError, OptionError
from jina_vllm_integrations.foundation.opening import open_file
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.pages.records import PageImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jina_vllm_integrations.images.documents import ImageFormat

# A file that says what the folder is, to readers that write into another.
_MARKER = ".jina-vllm-pages"
_NOTE = "Images of pages, drawn by jina-vllm-integrations. Readers do not take them for documents.\n"
_NAME = re.compile(r"[0-9a-f]{64}\.(webp|jpeg|png)")


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder of image files whose names are the SHA-256 of their bytes, so equal pages are one file.

    Nothing is removed but by `clean`: documents refer to the files. Many threads and processes may use it at once.

    Attributes:
        path: Absolute. Made when it is needed, and then for this user alone: the pages may be confidential.
        image_format: ``"webp"``, ``"jpeg"`` or ``"png"``. A scan as PNG is several times as large.
        limits: What one image may cost.
    """

    path: Path
    image_format: ImageFormat = "webp"
    limits: ImageLimits = ImageLimits()

    def keep(self, content: bytes, label: str, size: tuple[int, int]) -> PageImage:
        """Write a page's image, unless it is there.

        Args:
            content: The file's bytes, in the folder's format.
            label: Which page it is, for messages.
            size: The image's, in pixels.

        Raises:
            ImageSizeError: It has more bytes than the limit.
            OptionError: The folder cannot be written.
        """
        if len(content) > self.limits.max_bytes:
            raise ImageSizeError(
                f"a page's image may have {self.limits.max_bytes:,} bytes; {label!r} has {len(content):,} at "
                f"{size[0]} x {size[1]}. Choose a lower dpi or another format, or raise ImageLimits.max_bytes."
            )
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._written(f"{sha256}.{self.image_format}", content)
        return PageImage(source=path, uri=str(path), sha256=sha256, size=size)

    def clean(self, keep: Iterable[str | os.PathLike[str]]) -> list[Path]:
        """Remove the images of pages that nothing names any more, and return which.

        Args:
            keep: Those that stay, as documents name them. What is no image in this folder is passed over.

        Raises:
            OptionError: One name in place of several, or the folder cannot be written.
        """
        if isinstance(keep, str | os.PathLike):
            raise OptionError(f"keep must be several, got one, {str(keep)!r}. For one write [it].")
        kept = {Path(os.path.realpath(name)) for name in keep}
        removed = []
        with self._writable():
            for file in sorted(self.path.glob("*")):
                if self.holds(file) and Path(os.path.realpath(file)) not in kept:
                    file.unlink()
                    removed.append(file)
        return removed

    def holds(self, path: Path) -> bool:
        """Whether a file is one that was written here, and so no document of its own."""
        return _NAME.fullmatch(path.name) is not None and path.parent.resolve() == self.path.resolve()

    def _written(self, name: str, content: bytes) -> Path:
        file = self.path / name
        with self._writable():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.path / _MARKER).exists():
                (self.path / _MARKER).write_text(_NOTE)
            if not _has(file, content):
                with TemporaryDirectory(dir=self.path, prefix=".") as unfinished:
                    whole = Path(unfinished) / name
                    whole.write_bytes(content)
                    whole.replace(file)
        return file

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OptionError(
                f"image_folder must be a folder that can be written; {str(self.path)!r} cannot ({error.strerror}). "
                "Choose another, or make room."
            ) from error


def is_page_image(path: Path) -> bool:
    """Whether a file is the image of a page, in whichever folder for such, and so no document of its own."""
    return _NAME.fullmatch(path.name) is not None and (path.parent / _MARKER).is_file()


def _has(file: Path, content: bytes) -> bool:
    """Whether a file is there with its content: somebody may have changed it."""
    if not file.is_file():
        return False
    with open_file(file) as found:
        return found.read(len(content) + 1) == content
