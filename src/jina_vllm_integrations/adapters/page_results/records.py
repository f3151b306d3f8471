"""What is known of a page that was found, and what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jina_vllm_integrations.adapters.page_images import is_there

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ImageMode: TypeAlias = Literal["blocks", "url", "reference", "none"]
"""How a page's image comes: as a thumbnail, as a URL, as its path or URL in the text, or not at all."""


@dataclass(frozen=True, kw_only=True)
class NamedImage:
    """Where a page's image is, if it may be believed.

    Attributes:
        place: Where this was found, for errors.
        source: A path, file URI, data URI or URL; or anything, as metadata is anybody's.
    """

    place: str
    source: Any

    @classmethod
    def in_metadata(cls, metadata: Mapping[str, Any], keys: Iterable[str]) -> tuple[NamedImage, ...]:
        """Return what metadata has under some keys, in their order; ``None`` and ``""`` count as not there."""
        return tuple(
            cls(place=f"metadata[{key!r}]", source=metadata[key]) for key in keys if is_there(metadata.get(key))
        )


@dataclass(frozen=True, kw_only=True)
class FoundPage:
    """A page that was found, in no framework's terms.

    Attributes:
        document: The framework's own, for the caller's ``image_url``.
        text: Its text, of any length.
        images: Where its image is; the first that counts is read.
        source: Where it is from.
        page: Its number or label as people count.
        score: How well it fits.
    """

    document: Any
    text: str
    images: tuple[NamedImage, ...] = ()
    source: str | None = None
    page: str | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class ShownPage:
    """What a language model sees of a page.

    Attributes:
        text: Its rank, where it is from, and how its text begins; and a word about the image where there is none to
            show.
        image: A thumbnail as a file's bytes, of `thumbnails.MIME_TYPE`; or an http or https URL.
    """

    text: str
    image: bytes | str | None = None
