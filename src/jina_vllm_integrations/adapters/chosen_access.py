"""Which images may be read, and at what cost: as a caller says, or else a retriever of its own pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypedDict, TypeVar

from jina_vllm_integrations.adapters.page_images import IMAGE_KEYS, PageImages
from jina_vllm_integrations.images import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_Setting = TypeVar("_Setting")


class AccessOptions(TypedDict, total=False):
    """What a caller may say, each as functions document it; ``None`` is what the retriever says."""

    image_keys: Iterable[str] | None
    allowed_image_roots: Iterable[str | Path] | None
    allow_image_urls: bool | None
    image_limits: ImageLimits | None


@dataclass(frozen=True, kw_only=True)
class ChosenAccess:
    """What was chosen.

    Attributes:
        images: Which images that documents name may be read.
        limits: What an image may cost.
    """

    images: PageImages
    limits: ImageLimits

    @classmethod
    def of(
        cls,
        retriever: object,
        *,
        image_keys: Iterable[str] | None,
        allowed_image_roots: Iterable[str | Path] | None,
        allow_image_urls: bool | None,
        image_limits: ImageLimits | None,
    ) -> Self:
        """Take a caller's choices.

        Args:
            retriever: Whose own attributes count where the caller says nothing; ``None`` for none.
            image_keys: Several.
            allowed_image_roots: Several.
            allow_image_urls: Whether.
            image_limits: What an image may cost.

        Raises:
            OptionError: One key or folder in place of several.
        """
        return cls(
            images=PageImages.of(
                keys=_chosen(image_keys, retriever, "image_keys", IMAGE_KEYS),
                roots=_chosen(allowed_image_roots, retriever, "allowed_image_roots", ()),
                urls=_chosen(allow_image_urls, retriever, "allow_image_urls", otherwise=False),
            ),
            limits=_chosen(image_limits, retriever, "image_limits", ImageLimits()),
        )


def _chosen(given: _Setting | None, retriever: object, name: str, otherwise: _Setting) -> _Setting:
    """Return a setting: the caller's, or else the retriever's own."""
    return getattr(retriever, name, otherwise) if given is None else given
