"""The pages of a PDF, by PDFium.

PDFs are untrusted. PDFium as pypdfium2 brings it runs no scripts and fetches nothing; what one page may cost is limited
by its pixels.
"""

from __future__ import annotations

import atexit
import math
import re
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import BrokenPdfError, EncryptedPdfError, MissingExtraError
from jina_vllm_integrations.model.shapes import check_shape
from jina_vllm_integrations.pages.files import readable
from jina_vllm_integrations.pages.records import Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from PIL import Image

    from jina_vllm_integrations.pages.image_folder import ImageFolder

_POINTS_PER_INCH = 72

# PDFium takes one call at a time, whichever documents they are about. Reentrant, because the garbage collector may
# close an abandoned document during a call about another.
_PDFIUM = threading.RLock()

# Control characters, which databases refuse, and the soft hyphens where PDFium joins a word that two lines share.
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class PdfPages:
    """An open PDF. Pages are upright, with their annotations and form fields, on white.

    Attributes:
        pdf: Open.
        path: The file.
        dpi: At which pages are rendered, unless they are too large for that.
        images: Where the rendered pages go, and how large they may be.
    """

    pdf: Any
    path: Path
    dpi: float
    images: ImageFolder

    def __len__(self) -> int:
        with _PDFIUM:
            return len(self.pdf)

    def page(self, number: int) -> Page:
        """Render a page and read its text.

        Raises:
            BrokenPdfError: The page is damaged.
            ImageSizeError: Its image has too many bytes, or is so flat that the model does not take it.
        """
        place = f"page {number + 1} of {self.path}"
        with _PDFIUM, _explained(place), closing(self.pdf.get_page(number)) as page:
            dpi = _fitting_dpi(page.get_width(), page.get_height(), self.dpi, self.images.limits.max_pixels)
            image = _rendered(page, dpi)
            text = _text(page)
            label = self.pdf.get_page_label(number)
        check_shape(*image.size, place)
        return Page(
            source=self.path,
            number=number,
            n_pages=len(self),
            image=self.images.keep(image, place),
            dpi=float(dpi),
            text=_tidied(text),
            label=_tidied(label),
        )


@contextmanager
def open_pdf(path: Path, *, passwords: Sequence[str], dpi: float, images: ImageFolder) -> Iterator[PdfPages]:
    """Open a PDF for reading its pages.

    Args:
        path: The file.
        passwords: Those to try if it is encrypted.
        dpi: As for `PdfPages`.
        images: Where rendered pages go.

    Raises:
        BrokenPdfError: It is none, or is damaged.
        EncryptedPdfError: No password opens it.
        PageNotFoundError: It is gone.
        MissingExtraError: pypdfium2 is not installed.
    """
    if find_spec("pypdfium2") is None:
        raise MissingExtraError("pypdfium2", extra="pdf")
    with _PDFIUM:
        pdf = _opened(path, passwords)
    atexit.register(pdf.close)  # a program may end amid the pages, and PDFium is gone before them
    try:
        with _PDFIUM, _explained(str(path)):
            pdf.init_forms()
        yield PdfPages(pdf=pdf, path=path, dpi=dpi, images=images)
    finally:
        with _PDFIUM:
            pdf.close()
        atexit.unregister(pdf.close)


def _opened(path: Path, passwords: Sequence[str]) -> Any:
    for password in (None, *passwords):
        pdf = _unlocked(path, password)
        if pdf is not None:
            return pdf
    tried = "no password that was given opens it" if passwords else "no password was given"
    raise EncryptedPdfError(f"an encrypted PDF needs its password; {str(path)!r}: {tried}. Pass password=.")


def _unlocked(path: Path, password: str | None) -> Any:
    """Return an open PDF; ``None`` if it has another password."""
    import pypdfium2

    with readable(path), _explained(str(path)):
        try:
            return pypdfium2.PdfDocument(path.absolute(), password=password)
        except pypdfium2.PdfiumError:
            if pypdfium2.raw.FPDF_GetLastError() == pypdfium2.raw.FPDF_ERR_PASSWORD:
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


def _rendered(page: Any, dpi: float) -> Image.Image:
    with closing(page.render(scale=dpi / _POINTS_PER_INCH, rev_byteorder=True)) as bitmap:
        image: Image.Image = bitmap.to_pil()
        return image


def _text(page: Any) -> str:
    with closing(page.get_textpage()) as text_layer:
        text: str = text_layer.get_text_bounded()
        return text


def _tidied(text: str) -> str:
    lines = (" ".join(_INVISIBLE.sub("", line).split()) for line in text.splitlines())
    return "\n".join(filter(None, lines))


@contextmanager
def _explained(place: str) -> Iterator[None]:
    import pypdfium2

    try:
        yield
    except (pypdfium2.PdfiumError, ValueError) as error:  # pypdfium2 itself refuses an image without a pixel
        raise BrokenPdfError(
            f"a PDF must be complete and undamaged; {place!r} cannot be read ({error}). Export or download it again, "
            "or leave it out."
        ) from error
