"""Which image a document names in its metadata, and whether it may be read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jina_vllm_integrations.errors import ImageAddressError, ImageError, ItemTypeError, OptionError
from jina_vllm_integrations.foundation.opening import Beneath
from jina_vllm_integrations.images.addresses import is_data_uri, is_file_uri, is_url, url_label
from jina_vllm_integrations.images.documents.sources import FileURI
from jina_vllm_integrations.types import ImageInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

IMAGE_KEYS = ("image_uri",)
"""Where metadata names an image, unless the caller says otherwise: there our loaders and readers of pages write it, and
hardly anybody else has a column of that name."""

_Value = TypeVar("_Value")

_LONGEST_LABEL = 120


@dataclass(frozen=True, kw_only=True)
class PageImages:
    """Reads a document's metadata, which anybody may have written.

    A local file is read only inside the allowed folders, and a URL is fetched only if that was chosen: otherwise a
    document could have any file of this machine read, or this machine ask any server. A data URI holds its image.

    Attributes:
        keys: Where metadata may name the image; the first that it has counts.
        roots: The folders, absolute.
        urls: Whether http and https URLs are fetched, within `ImageLimits` and from public addresses only.
        real_roots: Where the folders' links lead, for some documents at once; ``None`` to follow them for each.
    """

    keys: tuple[str, ...]
    roots: tuple[Path, ...]
    urls: bool
    real_roots: tuple[str, ...] | None = None

    @classmethod
    def of(cls, *, keys: Iterable[str], roots: Iterable[str | Path], urls: bool) -> Self:
        """Take a caller's choices. Folders stay where they are when the process changes its own.

        Raises:
            OptionError: One key or folder in place of several: a string's characters are such, and ``"/"`` is one.
        """
        folders = tuple(Path(root).absolute() for root in _several("allowed_image_roots", roots))
        return cls(keys=_several("image_keys", keys), roots=folders, urls=urls)

    def at_once(self) -> Self:
        """Return these choices for documents that are looked at together, with the folders' links followed."""
        return replace(self, real_roots=tuple(os.path.realpath(root) for root in self.roots))

    def named_by(self, metadata: Mapping[str, Any]) -> ImageInput | None:
        """Return the image that metadata names, not yet opened; ``None`` for none. An empty ``str`` is none.

        Raises:
            InputError: As `read`.
        """
        key = self._key(metadata)
        return None if key is None else self.read(metadata[key], f"metadata[{key!r}]")

    def source(self, metadata: Mapping[str, Any]) -> str | None:
        """Return how metadata names an image, in its own words; ``None`` for none, or for what is no ``str``."""
        key = self._key(metadata)
        return metadata[key] if key is not None and isinstance(metadata[key], str) else None

    def read(self, source: object, place: str) -> ImageInput:
        """Return the image that a path, file URI, data URI or URL names, not yet opened, if it may be read.

        Args:
            source: A ``str``.
            place: Where it was found, for errors.

        Raises:
            ItemTypeError: It is no ``str``.
            ImageError: A file outside the allowed folders, or a file URI that names none on this machine.
            ImageAddressError: A URL, and URLs were not allowed.
        """
        if not isinstance(source, str):
            raise ItemTypeError(
                f"{place} must be a str, a path, file URI, data URI or URL, got {type(source).__name__} "
                f"{source!r:.60}. Store the image's path as str, or a data URI: vector stores take nothing else."
            )
        if is_data_uri(source):
            return ImageInput(source)
        if is_file_uri(source):
            uri = FileURI.parse(source)
            return ImageInput(uri.source(self._allowed(uri.path, source, place)))
        if is_url(source):
            return ImageInput(self._fetched(source, place))
        return ImageInput(self._allowed(source, source, place))

    def _key(self, metadata: Mapping[str, Any]) -> str | None:
        return next((key for key in self.keys if is_there(metadata.get(key))), None)

    def _fetched(self, url: str, place: str) -> str:
        if not self.urls:
            raise ImageAddressError(
                f"a URL in {place} is fetched only where that was chosen, got {url_label(url)!r}. "
                "Pass allow_image_urls=True if you trust whoever wrote the documents with it, or store a file's path."
            )
        return url

    def _allowed(self, path: str, source: str, place: str) -> Beneath:
        """Return where a path leads, symbolic links and ``..`` followed: opened, it must still be there."""
        try:
            file = self._inside(path) if path else None
        except ValueError:  # a null character
            file = None
        if file is None:
            roots = ", ".join(map(str, self.roots)) or "none"
            raise ImageError(
                f"a file in {place} must be inside allowed_image_roots ({roots}) once links are "
                f"followed, got {source[-_LONGEST_LABEL:]!r}. Add its folder there if all of it may be read."
            )
        return file

    def _inside(self, path: str) -> Beneath | None:
        if self.real_roots is None:
            return Beneath.one_of(self.roots, path)
        return Beneath.one_of_real(self.real_roots, path)


def is_there(value: object) -> bool:
    """Return whether metadata has something: ``None`` and an empty ``str`` are what a table has where nothing is."""
    return value is not None and not (isinstance(value, str) and not value)


def _several(name: str, values: Iterable[_Value]) -> tuple[_Value, ...]:
    if isinstance(values, str | Path):
        raise OptionError(f"{name} must be several, got one, {str(values)!r}. For one write [it].")
    return tuple(values)
