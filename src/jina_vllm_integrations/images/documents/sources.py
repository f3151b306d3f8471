"""Which page of which file, as an object and as a URI."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from jina_vllm_integrations.errors import ImageError, OptionError
from jina_vllm_integrations.foundation.opening import Beneath
from jina_vllm_integrations.foundation.options import check_count
from jina_vllm_integrations.images.documents.files import DocumentFile
from jina_vllm_integrations.images.documents.jobs import Draw, check_dpi, checked_passwords

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from jina_vllm_integrations.foundation.opening import FileSource
    from jina_vllm_integrations.images.limits import ImageLimits

DPI = 150
"""Pixels an inch at which pages are drawn, unless it is said."""

_LONGEST_LABEL = 120


@dataclass(frozen=True)
class PageSource:
    """A page of a PDF, or of a TIFF with several, as an image. Nothing is read until it is needed.

    Attributes:
        file: The path.
        page: Which page, from 1.
        dpi: At which a PDF's page is drawn; one that would have more pixels than `ImageLimits` allow is drawn at as
            many as fit. A TIFF has its own pixels.
        passwords: Those to try on an encrypted PDF. In no representation and in no URI.

    Raises:
        OptionError: ``page`` is not a whole number from 1, or ``dpi`` is not positive.
    """

    file: FileSource
    page: int = 1
    dpi: float = DPI
    passwords: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_count("page", self.page)
        check_dpi(self.dpi)
        object.__setattr__(self, "passwords", checked_passwords(self.passwords))
        if not isinstance(self.file, str | bytes | os.PathLike | Beneath):
            raise OptionError(f"file must be a path, got {self.file!r:.60}. Write a document of yours to a file first.")
        if not isinstance(self.file, Beneath):  # stays where it is when the process changes its folder
            object.__setattr__(self, "file", Path(os.fsdecode(self.file)).absolute())

    @property
    def path(self) -> Path:
        """Where the file is, absolute."""
        assert isinstance(self.file, Path | Beneath)
        return self.file.path if isinstance(self.file, Beneath) else self.file

    @property
    def uri(self) -> str:
        """The page as text, for JSON and documents' metadata: ``file:///scans/report.pdf#page=3``.

        The parameter is that of RFC 8118, section 3, so browsers open the page, too; ``&dpi=`` follows where it is not
        `DPI`.
        """
        return f"{self.path.as_uri()}#{self.fragment}"

    @property
    def fragment(self) -> str:
        """What follows ``#`` in the URI: ``page=3``, or ``page=3&dpi=200``."""
        return f"page={self.page}" if self.dpi == DPI else f"page={self.page}&dpi={quote(_exactly(self.dpi))}"

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"page {self.page} of {str(self.path)[-_LONGEST_LABEL:]}"


@dataclass(frozen=True, kw_only=True)
class FileURI:
    """What a file URI says.

    Attributes:
        path: Absolute.
        page: Which page, from 1; ``None`` for the file itself.
        dpi: As for `PageSource`.
    """

    path: str
    page: int | None
    dpi: float

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a URI, decoded once.

        Raises:
            ImageError: It is none of a file on this machine, or its fragment is none of a page.
        """
        try:
            parts = urlsplit(uri)
            fragment = dict(parse_qsl(parts.fragment, strict_parsing=True)) if parts.fragment else {}
            page = int(fragment.pop("page")) if fragment else None
            dpi = float(fragment.pop("dpi", DPI))
        except (KeyError, ValueError):  # or brackets that hold no address
            parts, fragment, page, dpi = urlsplit("file:"), {}, None, DPI
        elsewhere = parts.netloc.lower() not in ("", "localhost")
        if elsewhere or not parts.path.startswith("/") or parts.query or fragment:
            raise ImageError(
                f"a file URI must be file:///, an absolute path, percent-encoded, and for a page #page= with its "
                f"number, got {uri[:_LONGEST_LABEL]!r}. Store Path.as_uri(), PageSource(...).uri, or the plain path."
            )
        return cls(path=os.fsdecode(unquote_to_bytes(parts.path)), page=page, dpi=dpi)

    def source(self, file: FileSource) -> FileSource | PageSource:
        """Return what is named, of a file that was found at the path.

        Raises:
            ImageError: There can be no such page.
        """
        if self.page is None:
            return file
        try:
            return PageSource(file, self.page, dpi=self.dpi)
        except OptionError as error:
            raise ImageError(f"a file URI must name a page that can be: {error}") from error


@dataclass(frozen=True, kw_only=True)
class DrawnPage:
    """A page that was found, of a file as it was then.

    Attributes:
        file: The file.
        source: Which page.
        limits: What drawing it may cost.
    """

    file: DocumentFile
    source: PageSource
    limits: ImageLimits

    @classmethod
    def of(cls, source: PageSource, limits: ImageLimits) -> tuple[Self, tuple[int, int]]:
        """Find a page, and return it and its size in pixels. Nothing is drawn.

        Raises:
            PageError: The file cannot be read or is damaged, has no such page, or looking at it costs too much.
            ImageSizeError: The page is too flat.
        """
        file = DocumentFile.of(source.file, source.passwords)
        (facts,) = file.facts([source.page - 1], dpi=source.dpi, limits=limits, text=False)
        if isinstance(facts, Exception):
            raise facts
        return cls(file=file, source=source, limits=limits), facts.size

    @property
    def key(self) -> bytes:
        """What decides the pixels: the file's bytes, which page it is, and how it is drawn. Known without drawing.

        Raises:
            PageNotFoundError: The file cannot be read, or is not what it was.
        """
        drawn = f"page {self.source.page}, {_exactly(self.source.dpi)} dpi, {self.limits.max_pixels} pixels"
        return hashlib.sha256(self.file.sha256 + drawn.encode()).digest()

    def draw(self) -> npt.NDArray[np.uint8]:
        """Draw the page, upright, on white.

        Returns:
            RGB. *Shape:* ``(height, width, 3)``.

        Raises:
            PageError: The page is damaged, or drawing it costs too much; or the file is not what it was.
            ImageSizeError: It has too many pixels.
        """
        job = Draw(number=self.source.page - 1, dpi=self.source.dpi, max_pixels=self.limits.max_pixels)
        pixels: npt.NDArray[np.uint8] = self.file.done(job, self.limits)
        return pixels


def _exactly(dpi: float) -> str:
    """Return the digits that make this very number again; a whole one's as they are written."""
    return repr(float(dpi)).removesuffix(".0")
