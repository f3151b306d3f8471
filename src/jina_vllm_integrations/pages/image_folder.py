"""Where the images of rendered pages are, by content."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import ImageSizeError, OptionError
from jina_vllm_integrations.pages.records import PageImage

if TYPE_CHECKING:
    from PIL import Image

    from jina_vllm_integrations.images import ImageLimits

# A file that says what the folder is, to readers that render into another.
_MARKER = ".jina-vllm-pages"
_NOTE = "Images of pages, rendered by jina-vllm-integrations. Readers do not take them for documents.\n"
_NAME = re.compile(r"[0-9a-f]{64}\.png")

# A scan takes a quarter of the time of Pillow's own choice, and no more room.
_COMPRESS_LEVEL = 1


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder of PNG files whose names are the SHA-256 of their bytes, so equal pages are one file.

    Nothing is ever removed: documents refer to the files. Many threads and processes may use it at once.

    Attributes:
        path: Absolute. Made when it is needed, and then for this user alone: the pages may be confidential.
        limits: What one image may cost.
    """

    path: Path
    limits: ImageLimits

    def keep(self, image: Image.Image, label: str) -> PageImage:
        """Write a page's image, unless it is there.

        Args:
            image: Without metadata, which would be part of the content.
            label: Which page it is, for messages.

        Raises:
            ImageSizeError: The PNG file would have more bytes than the limit.
            OptionError: The folder cannot be written.
        """
        encoded = io.BytesIO()
        image.save(encoded, "PNG", compress_level=_COMPRESS_LEVEL)
        content = encoded.getvalue()
        if len(content) > self.limits.max_bytes:
            raise ImageSizeError(
                f"a page's image may have {self.limits.max_bytes:,} bytes; {label!r} has {len(content):,} at "
                f"{image.width} x {image.height}. Choose a lower dpi, or raise ImageLimits.max_bytes."
            )
        sha256 = hashlib.sha256(content).hexdigest()
        return PageImage(path=self._written(f"{sha256}.png", content), sha256=sha256, size=image.size)

    def holds(self, path: Path) -> bool:
        """Whether a file is one that was written here, or into another such folder, and so no document of its own."""
        if _NAME.fullmatch(path.name) is None:
            return False
        return path.parent.resolve() == self.path.resolve() or (path.parent / _MARKER).is_file()

    def _written(self, name: str, content: bytes) -> Path:
        file = self.path / name
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.path / _MARKER).exists():
                (self.path / _MARKER).write_text(_NOTE)
            if not file.is_file() or file.read_bytes() != content:  # somebody may have changed it
                with TemporaryDirectory(dir=self.path, prefix=".") as unfinished:
                    whole = Path(unfinished) / name
                    whole.write_bytes(content)
                    whole.replace(file)
        except OSError as error:
            raise OptionError(
                f"image_folder must be a folder that can be written; {str(self.path)!r} cannot ({error.strerror}). "
                "Choose another, or make room."
            ) from error
        return file
