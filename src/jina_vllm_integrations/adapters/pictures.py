"""The image that a document names as a picture, whatever it is: a file, a page that is drawn, a URL."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

from PIL import Image

from jina_vllm_integrations.adapters.chosen_access import AccessOptions, ChosenAccess
from jina_vllm_integrations.adapters.thumbnails import jpeg
from jina_vllm_integrations.errors import ImageSizeError, ItemTypeError
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.images import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from jina_vllm_integrations.adapters.page_results import NamedImage
    from jina_vllm_integrations.images import ImageLimits

PictureForm: TypeAlias = Literal["pil", "bytes", "block"]
"""How a picture comes: as PIL's image, as a JPEG file's bytes, or as the framework's content block of a message."""

_Block = TypeVar("_Block")

MAX_PIXELS = 2_200_000
"""Of an A4 page that is drawn at 150 dpi."""

_LONGEST_SIDE = 65_500  # of a JPEG


class PictureOptions(AccessOptions, total=False):
    """What a caller may say of a picture, as the frameworks' functions document it."""

    max_pixels: int
    retriever: Any


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Makes pictures, upright and on white, and never larger than the image itself.

    Attributes:
        access: Which images may be read, and what they may cost.
        max_pixels: Of a picture. What has more is scaled down.
    """

    access: ChosenAccess
    max_pixels: int

    @classmethod
    def checked(
        cls,
        form: PictureForm,
        retriever: object,
        *,
        max_pixels: int,
        image_keys: Iterable[str] | None,
        allowed_image_roots: Iterable[str | Path] | None,
        allow_image_urls: bool | None,
        image_limits: ImageLimits | None,
    ) -> Self:
        """Take a caller's choices, which are as for `ChosenAccess.of`.

        Raises:
            OptionError: A value that does not exist or does not fit.
        """
        check_choice("form", form, PictureForm)
        check_count("max_pixels", max_pixels)
        access = ChosenAccess.of(
            retriever,
            image_keys=image_keys,
            allowed_image_roots=allowed_image_roots,
            allow_image_urls=allow_image_urls,
            image_limits=image_limits,
        )
        return cls(access=access, max_pixels=max_pixels)

    def made(
        self, form: PictureForm, images: Sequence[NamedImage], block: Callable[[bytes], _Block]
    ) -> Image.Image | bytes | _Block:
        """Return a picture in a form. Errors are those of `of` and `file`.

        Args:
            form: Which.
            images: Where a document has its image; the first counts.
            block: Makes a framework's content block of a JPEG.
        """
        if form == "pil":
            return self.of(images)
        content = self.file(images)
        return content if form == "bytes" else block(content)

    def of(self, images: Sequence[NamedImage]) -> Image.Image:
        """Return a picture, of mode RGB.

        Args:
            images: Where a document has its image; the first counts.

        Raises:
            ItemTypeError: There is none, or it is no ``str``.
            InputError: It may not be read, or as `images.inspect` and `ImageHandle.load`.
        """
        if not images:
            raise ItemTypeError(
                f"the document must have an image, it names none ({', '.join(self.access.images.keys)}). Pass a page "
                "that a loader or reader of pages made, or image_keys= with where its metadata names one."
            )
        source = self.access.images.read(images[0].source, images[0].place).source
        picture = inspect(source, self.access.limits).load()
        picture.thumbnail(self._size(picture), Image.Resampling.LANCZOS)
        return picture

    def file(self, images: Sequence[NamedImage]) -> bytes:
        """Return a picture as JPEG.

        Raises:
            ImageSizeError: One of its sides is too long for that.
            InputError: As `of`.
        """
        picture = self.of(images)
        if max(picture.size) > _LONGEST_SIDE:
            raise ImageSizeError(
                f"a JPEG may have {_LONGEST_SIDE:,} pixels a side, got {picture.width:,} x {picture.height:,}. Pass a "
                "smaller max_pixels=, or form='pil'."
            )
        return jpeg(picture)

    def _size(self, picture: Image.Image) -> tuple[int, int]:
        """Return a size that a picture may have, in its proportions."""
        scale = math.sqrt(min(1, self.max_pixels / (picture.width * picture.height)))
        width, height = (max(1, math.floor(side * scale)) for side in picture.size)
        # Of a row of pixels, where rounding up makes one side longer than it would be, the other is shorter for it.
        return min(width, max(1, self.max_pixels // height)), min(height, max(1, self.max_pixels // width))
