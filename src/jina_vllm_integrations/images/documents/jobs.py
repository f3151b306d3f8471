"""What a process is asked to do with a file, and what it answers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from PIL import Image

from jina_vllm_integrations.errors import ImageSizeError, InputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

ImageFormat: TypeAlias = Literal["webp", "jpeg", "png"]
"""In which pages are written to files."""

# Beyond these, sizes leave the numbers that can be reckoned with.
_LEAST_DPI, _MOST_DPI = 1e-9, 1e9

# A scan as PNG takes a quarter of the time of Pillow's own choice at level 1, and no more room. The other two are for
# the eye: small print stays free of visible artefacts.
_SAVED: dict[ImageFormat, dict[str, Any]] = {
    "webp": {"quality": 85, "method": 2},
    "jpeg": {"quality": 88},
    "png": {"compress_level": 1},
}


@dataclass(frozen=True, kw_only=True)
class PageFacts:
    """What is known of a page without drawing it.

    Attributes:
        size: Width and height in pixels, as it will be drawn.
        dpi: At which it will be; ``None`` for a TIFF that does not say.
        text: The text layer, without blank lines; empty for none.
        label: The number that is printed on it, such as ``"iv"``, if the file says.
        missing_fonts: Names of the fonts of a PDF whose letters are not drawn, as neither the file nor this machine has
            them. Looked for with the text.
    """

    size: tuple[int, int]
    dpi: float | None
    text: str = ""
    label: str = ""
    missing_fonts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a file is opened.

    Attributes:
        label: Which file it is, for messages.
        is_pdf: Or else a TIFF.
        passwords: Those to try.
        signature: What tells it from others: one that is open already is not opened again.
    """

    label: str
    is_pdf: bool
    passwords: tuple[str, ...]
    signature: tuple[int, ...]


class OpenDocument(Protocol):
    """A file that is open, in the process that reads it."""

    def __len__(self) -> int:
        """Return how many pages it has."""

    def facts(self, number: int, *, dpi: float, max_pixels: int, text: bool) -> PageFacts:
        """Look at a page, from 0."""

    def drawn(self, number: int, *, dpi: float, max_pixels: int) -> npt.NDArray[np.uint8]:
        """Draw a page, from 0. *Shape:* ``(height, width, 3)``."""


class Job(Protocol):
    """Something to do with an open file."""

    def do(self, document: OpenDocument) -> Any:
        """Do it, and return what can be pickled."""


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Looks at pages.

    Attributes:
        numbers: Which, from 0.
        dpi: At which they would be drawn.
        max_pixels: How many they may have then.
        text: Whether to read their texts.
    """

    numbers: Sequence[int]
    dpi: float
    max_pixels: int
    text: bool = False

    def do(self, document: OpenDocument) -> tuple[int, list[PageFacts | InputError]]:
        """Return how many pages there are, and of each that was asked for what is known or its error."""
        return len(document), [self._facts(document, number) for number in self.numbers]

    def _facts(self, document: OpenDocument, number: int) -> PageFacts | InputError:
        try:
            return document.facts(number, dpi=self.dpi, max_pixels=self.max_pixels, text=self.text)
        except InputError as error:
            return error


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Draws a page.

    Attributes:
        number: Which, from 0.
        dpi: At which.
        max_pixels: How many it may have.
    """

    number: int
    dpi: float
    max_pixels: int

    def do(self, document: OpenDocument) -> npt.NDArray[np.uint8]:
        """Return its pixels."""
        return document.drawn(self.number, dpi=self.dpi, max_pixels=self.max_pixels)


@dataclass(frozen=True, kw_only=True)
class Encode:
    """Draws a page for a file of its own.

    Attributes:
        page: The page.
        image_format: Of the file.
    """

    page: Draw
    image_format: ImageFormat

    def do(self, document: OpenDocument) -> bytes:
        """Return the file's bytes."""
        image = Image.fromarray(self.page.do(document))
        file = io.BytesIO()
        try:
            image.save(file, self.image_format.upper(), **_SAVED[self.image_format])
        except (OSError, ValueError) as error:  # WebP's sides end at 16,383 pixels, JPEG's at 65,500
            raise ImageSizeError(
                f"a page's image must fit its format; {image.width} x {image.height} pixels are too many for "
                f"{self.image_format} ({error}). Choose image_format='png', or a lower dpi."
            ) from error
        return file.getvalue()


def check_dpi(dpi: object) -> None:
    """Check a resolution.

    Raises:
        OptionError: It is no positive number, or far from what anybody draws at.
    """
    is_number = isinstance(dpi, Real) and not isinstance(dpi, bool)
    if not is_number or not _LEAST_DPI <= dpi <= _MOST_DPI:  # type: ignore[operator]  # no int is too large for that
        raise OptionError(f"dpi must be a positive number of pixels an inch, got {dpi!r:.60}. 150 suits most pages.")


def checked_passwords(passwords: Iterable[str]) -> tuple[str, ...]:
    """Return passwords as several. None of them is in a message.

    Raises:
        OptionError: One in place of several, or one that is no text.
    """
    if isinstance(passwords, str) or not isinstance(passwords, Iterable):
        raise OptionError(f"passwords must be several, got one {type(passwords).__name__}. For one write (password,).")
    several = tuple(passwords)
    for number, password in enumerate(several):
        if not isinstance(password, str) or not _is_unicode(password):
            raise OptionError(
                f"a password must be a str of Unicode, got {type(password).__name__} at {number} that is none. "
                "Decode bytes; write numbers as text."
            )
    return several


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair
        return False
    return True
