"""The pages of a PDF, by PDFium. Runs in a process of its own only.

PDFium as pypdfium2 brings it runs no scripts and fetches nothing.
"""

from __future__ import annotations

import math
import re
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jina_vllm_integrations.errors import BrokenPdfError, EncryptedPdfError, InputError
from jina_vllm_integrations.images.documents.jobs import PageFacts
from jina_vllm_integrations.images.documents.missing_fonts import missing_fonts
from jina_vllm_integrations.images.shapes import check_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

_POINTS_PER_INCH = 72

# Control characters, which databases refuse, and the soft hyphens where PDFium joins a word that two lines share.
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class OpenPdf:
    """An open PDF. Pages are upright, with their annotations and form fields, on white.

    Attributes:
        pdf: Open.
        label: Which it is, for messages.
    """

    pdf: Any
    label: str

    def __len__(self) -> int:
        return len(self.pdf)

    def facts(self, number: int, *, dpi: float, max_pixels: int, text: bool) -> PageFacts:
        """Look at a page, from 0.

        Raises:
            BrokenPdfError: There is none, or it is damaged.
            ImageSizeError: It is too flat, or empty.
        """
        with self._page(number) as page:
            fitting = self._fitting(page, number, dpi=dpi, max_pixels=max_pixels)
            scale = fitting / _POINTS_PER_INCH  # divided first, as for `drawn`: at 150 a Letter page is 1651 high
            layer = _text(page) if text else ""
            return PageFacts(
                size=tuple(math.ceil(side * scale) for side in page.get_size()),
                dpi=float(fitting),
                text=_tidied(layer),
                label=_label(self.pdf, number) if text else "",
                missing_fonts=missing_fonts(page, layer),
            )

    def drawn(self, number: int, *, dpi: float, max_pixels: int) -> npt.NDArray[np.uint8]:
        """Draw a page, from 0.

        Raises:
            BrokenPdfError: There is none, or it is damaged.
            ImageSizeError: It is too flat, or empty.
        """
        with self._page(number) as page:
            fitting = self._fitting(page, number, dpi=dpi, max_pixels=max_pixels)
            # Not closed: the array is its memory, which goes with the array.
            bitmap = page.render(scale=fitting / _POINTS_PER_INCH, rev_byteorder=True)
            return np.ascontiguousarray(bitmap.to_numpy())

    @contextmanager
    def _page(self, number: int) -> Iterator[Any]:
        with _explained(f"page {number + 1} of {self.label}"):
            if not 0 <= number < len(self.pdf):
                raise ValueError(f"it has {len(self.pdf)} pages")
            with closing(self.pdf.get_page(number)) as page:
                yield page

    def _fitting(self, page: Any, number: int, *, dpi: float, max_pixels: int) -> float:
        width, height = page.get_size()
        check_shape(width, height, f"page {number + 1} of {self.label}")
        return _fitting_dpi(width, height, dpi, max_pixels)


@contextmanager
def open_pdf(path: str, label: str, passwords: Sequence[str]) -> Iterator[OpenPdf]:
    """Open a PDF for reading its pages.

    Args:
        path: The file.
        label: What messages call it.
        passwords: Those to try if it is encrypted.

    Raises:
        BrokenPdfError: It is none, or is damaged.
        EncryptedPdfError: No password opens it.
    """
    with closing(_opened(path, label, passwords)) as pdf:
        _make_form_environment(pdf)
        yield OpenPdf(pdf=pdf, label=label)


def _make_form_environment(pdf: Any) -> None:
    """Have form fields drawn, also where the document has lost its form, as split ones have; without it the rest is."""
    import pypdfium2
    from pypdfium2 import raw

    config = raw.FPDF_FORMFILLINFO(version=2)
    environment = raw.FPDFDOC_InitFormFillEnvironment(pdf, config)
    if environment:
        pdf.formenv = pypdfium2.PdfFormEnv(environment, config)


def _opened(path: str, label: str, passwords: Sequence[str]) -> Any:
    for password in (None, *passwords):
        pdf = _unlocked(path, label, password)
        if pdf is not None:
            return pdf
    tried = "no password that was given opens it" if passwords else "no password was given"
    raise EncryptedPdfError(f"an encrypted PDF needs its password; {label!r}: {tried}. Pass password=.")


def _unlocked(path: str, label: str, password: str | None) -> Any:
    """Return an open PDF; ``None`` if it has another password."""
    import pypdfium2

    with _explained(label):
        try:
            return pypdfium2.PdfDocument(path, password=password)
        except pypdfium2.PdfiumError as error:
            if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                return None
            raise


def _fitting_dpi(width: float, height: float, dpi: float, max_pixels: int) -> float:
    """Return a resolution at which a page has at most so many pixels.

    Args:
        width: Of the page, in points.
        height: Of the page, in points.
        dpi: The one to return if it fits.
        max_pixels: Of the image, whose sides are rounded up.
    """
    scale = dpi / _POINTS_PER_INCH
    if math.ceil(width * scale) * math.ceil(height * scale) <= max_pixels:
        return dpi
    # The solution of (width * scale + 1) * (height * scale + 1) = max_pixels.
    sides, rest = width + height, max_pixels - 1
    return _POINTS_PER_INCH * 2 * rest / (sides + math.sqrt(sides**2 + 4 * width * height * rest))


def _text(page: Any) -> str:
    with closing(page.get_textpage()) as text_layer:
        text: str = text_layer.get_text_bounded()
        return text


def _label(pdf: Any, number: int) -> str:
    try:
        return _tidied(pdf.get_page_label(number))
    except UnicodeDecodeError:  # a page whose number is no text is a page nevertheless
        return ""


def _tidied(text: str) -> str:
    lines = (" ".join(_INVISIBLE.sub("", line).split()) for line in text.splitlines())
    return "\n".join(filter(None, lines))


@contextmanager
def _explained(place: str) -> Iterator[None]:
    import pypdfium2

    try:
        yield
    except InputError:
        raise
    except (pypdfium2.PdfiumError, ValueError) as error:  # pypdfium2 itself refuses an image without a pixel
        raise BrokenPdfError(
            f"a PDF must be complete and undamaged; {place!r} cannot be read ({error}). Export or download it again, "
            "or leave it out."
        ) from error
