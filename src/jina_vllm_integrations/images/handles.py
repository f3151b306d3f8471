"""An image that was checked, and is decoded when it is needed."""

from __future__ import annotations

import io
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from PIL import Image

from jina_vllm_integrations.errors import (
    ImageFormatError,
    ImageNotFoundError,
    ImageSizeError,
    ItemTypeError,
)
from jina_vllm_integrations.foundation.opening import Beneath, open_file
from jina_vllm_integrations.images.addresses import ImageURL, is_data_uri, is_file_uri, is_url
from jina_vllm_integrations.images.damage import explained
from jina_vllm_integrations.images.data_uris import data_uri_content
from jina_vllm_integrations.images.decoding import check, decode, open_image, to_rgb, upright_size
from jina_vllm_integrations.images.documents.sources import DrawnPage, FileURI, PageSource
from jina_vllm_integrations.images.first_pages import FIRST_PAGES
from jina_vllm_integrations.images.limits import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | Beneath | bytes | bytearray | memoryview | BinaryIO | Image.Image | PageSource"
)
"""An image as a path, URL, data URI, file URI (all four as ``str``), path object, encoded bytes, binary file, PIL image
or page of a document. `Beneath` is a path that must stay inside a folder."""

_LONGEST_LABEL = 120


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """An image that is decoded.

    Attributes:
        rgb: *Shape:* ``(height, width, 3)``, uint8.
    """

    rgb: npt.NDArray[np.uint8]


_File: TypeAlias = "str | os.PathLike[str] | Beneath | bytes | bytearray | memoryview | BinaryIO | Image.Image"
_Encoded: TypeAlias = Path | Beneath | bytes | ImageURL | Image.Image
_Origin: TypeAlias = _Encoded | DrawnPage | Pixels

# A PIL image that its owner opened but did not decode reads from one file, in whichever thread comes first. The same
# image may be in several handles, so a lock in each handle would not do.
_DECODING_IN_PLACE = threading.Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageHandle:
    """A checked image that is decoded when it is needed. Made by `inspect`; holds no open file.

    Attributes:
        label: Which image it is, for messages.
        size: Width and height in pixels as a viewer shows them, so after the EXIF orientation; ``None`` for a URL,
            which is fetched by `load`.
        origin: What `load` reads.
        limits: What `load` keeps to.
    """

    label: str
    size: tuple[int, int] | None
    origin: _Origin
    limits: ImageLimits

    def load(self) -> Image.Image:
        """Decode the image. May be called often and from many threads.

        Transparent parts are laid on white. Of an animation, and of a file with several pages, it is the first.
        Greyscale with more than 8 bits keeps the upper 8. ICC profiles are not applied, as the model's own processor
        does not. The caller's own PIL image stays as it is.

        Returns:
            A new image of mode RGB and of this handle's ``size``, without metadata.

        Raises:
            ImageNotFoundError: The file is gone.
            ImageFormatError: Truncated or damaged, not what was inspected, or integer pixels of unknown white.
            ImageSizeError: More bytes or pixels than the limits allow, a JPEG of very many scans, or no memory for it.
            ImageError: The disk failed.
            ImageFetchError: The URL could not be fetched within the limits.
            ImageAddressError: The URL leads to an address that is not public.
        """
        match self.origin:
            case DrawnPage() as drawn:
                page = Image.fromarray(drawn.draw())
            case Pixels() as pixels:
                page = Image.fromarray(pixels.rgb)
            case encoded:
                page = self._decoded(encoded)
        if self.size not in (None, page.size):
            raise ImageFormatError(
                f"an image must stay as it was inspected; {self.label!r} was {self.size} and is {page.size}. "
                "Leave it alone until it is embedded."
            )
        return page

    def drawn(self) -> ImageHandle:
        """Return a handle that another process can load: it holds pixels where this one has a page to draw.

        Raises:
            InputError: As `DrawnPage.draw`.
        """
        if isinstance(self.origin, DrawnPage):
            return replace(self, origin=Pixels(rgb=self.origin.draw()))
        return self

    def pinned(self) -> ImageHandle:
        """Return a handle that holds the encoded image, so that a file or URL is read once and cannot change.

        A PIL image is decoded and copied, because its owner may change it, or go on to its next frame. A document's
        page stays where it is: it is drawn only if its file is what it was.

        Raises:
            ImageError: As `load`.
        """
        if isinstance(self.origin, bytes | DrawnPage | Pixels):
            return self
        if isinstance(self.origin, Image.Image):
            page = self.load()
            return replace(self, origin=page, size=page.size)
        with _opened(self.origin, self.label, self.limits) as file, explained(self.label):
            content = file.read(self.limits.max_bytes + 1)
        _check_bytes(len(content), self.label, self.limits)
        with _header(content, self.label, self.limits) as image:
            FIRST_PAGES.taken(image, self.label)
            return replace(self, origin=content, size=upright_size(image))

    def _decoded(self, origin: _Encoded) -> Image.Image:
        with _header(origin, self.label, self.limits) as image:
            if image is origin:
                with _DECODING_IN_PLACE:
                    decode(image, self.label)
            return to_rgb(image, self.label)


def inspect(source: ImageSource, limits: ImageLimits = ImageLimits()) -> ImageHandle:
    """Check an image without decoding its pixels.

    Args:
        source: A path, URL, data URI or file URI; encoded bytes; a binary file, which is read from its start where it
            can seek and may be closed afterwards; a PIL image, whose current frame counts; or a document's page, which
            a file URI may name, too. Of a URL only the syntax is checked.
        limits: What the image may cost.

    Raises:
        ItemTypeError: No image at all.
        ImageNotFoundError: No such file, or not a file.
        ImageFormatError: Not an image in a supported format, a damaged header, or floating-point pixels.
        ImageSizeError: Too many bytes or pixels, or none.
        ImageAddressError: A URL that is not http or https, or carries credentials.
        PageError: A document's page cannot be found.

    Example:
        >>> handle = inspect("scan.tiff")
        >>> handle.size
        (2480, 3508)
        >>> handle.load().mode
        'RGB'
    """
    source = file_source(source)
    if isinstance(source, PageSource):
        page, page_size = DrawnPage.of(source, limits)
        return ImageHandle(label=source.label, size=page_size, origin=page, limits=limits)
    label, origin = _identified(source, limits)
    if isinstance(origin, ImageURL):
        return ImageHandle(label=label, size=None, origin=origin, limits=limits.for_urls())
    with _header(origin, label, limits) as image:
        FIRST_PAGES.taken(image, label)
        return ImageHandle(label=label, size=upright_size(image), origin=origin, limits=limits)


def file_source(source: ImageSource) -> ImageSource:
    """Return the path, or the page, that a file URI names; any other source as it is.

    Raises:
        ImageError: It is a file URI that names none.
    """
    if not isinstance(source, str) or not is_file_uri(source):
        return source
    uri = FileURI.parse(source)
    return uri.source(Path(uri.path))


def _identified(source: _File, limits: ImageLimits) -> tuple[str, _Encoded]:
    """An image's label and origin."""
    match source:
        case Image.Image():
            return "<PIL image>", source
        case bytes() | bytearray() | memoryview():
            return "bytes", bytes(source)
        case str() if is_data_uri(source):
            label = f"{source[:40]}..."
            return label, data_uri_content(source, label)
        case str() if is_url(source):
            url = ImageURL.parse(source)
            return url.label, url
        case str() | os.PathLike() | Beneath():
            path = source if isinstance(source, Beneath) else Path(os.fsdecode(source))
            return str(path)[-_LONGEST_LABEL:], path
        case _ if hasattr(source, "read"):
            return "binary file", _file_content(source, limits)
    raise ItemTypeError(
        f"an image is a path, URL, data URI, bytes, binary file or PIL image, got {type(source).__name__} "
        f"{source!r:.60}. Convert it to one of these; an array with PIL.Image.fromarray."
    )


def _file_content(file: BinaryIO, limits: ImageLimits) -> bytes:
    """Everything in the file, or one byte more than the limit. A raw file may give less at a time than is asked for."""
    content = bytearray()
    try:
        if file.seekable():
            file.seek(0)
        while chunk := file.read(limits.max_bytes + 1 - len(content)):
            content += chunk
    except TypeError as error:
        raise ItemTypeError(f"an image file must be binary; {file!r:.60} is not. Open it with mode 'rb'.") from error
    except (OSError, ValueError) as error:
        raise ImageFormatError(
            f"an image file must be readable; {file!r:.60} is not ({error}). Open it anew."
        ) from error
    return bytes(content)


@contextmanager
def _header(origin: _Encoded, label: str, limits: ImageLimits) -> Iterator[Image.Image]:
    """The image, checked but not decoded; decode it before leaving."""
    if isinstance(origin, Image.Image):
        check(origin, label, max_pixels=limits.max_pixels)
        yield origin
        return
    with _opened(origin, label, limits) as file:
        yield open_image(file, label, max_pixels=limits.max_pixels)


@contextmanager
def _opened(origin: Path | Beneath | bytes | ImageURL, label: str, limits: ImageLimits) -> Iterator[BinaryIO]:
    if isinstance(origin, Path | Beneath):
        with _found(label):
            file = open_file(origin)
        with file:
            _check_bytes(os.fstat(file.fileno()).st_size, label, limits)
            yield file
        return
    if isinstance(origin, ImageURL):
        from jina_vllm_integrations.images.fetching import fetch  # brings an HTTP client, which paths do not need

        origin = fetch(origin, limits)
    _check_bytes(len(origin), label, limits)
    yield io.BytesIO(origin)


@contextmanager
def _found(label: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageNotFoundError(
            f"an image path must name a file; {label!r} cannot be opened ({reason}). "
            "Correct the path; give an encoded image as bytes or data URI."
        ) from error


def _check_bytes(n_bytes: int, label: str, limits: ImageLimits) -> None:
    if n_bytes > limits.max_bytes:
        raise ImageSizeError(
            f"an image may have {limits.max_bytes:,} bytes; {label!r} has {n_bytes:,}. "
            "Give a smaller image, or raise ImageLimits.max_bytes (of a URL: max_url_bytes)."
        )
