"""The settings of a tool that searches pages, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from jina_vllm_integrations.adapters.page_images import IMAGE_KEYS, PageImages
from jina_vllm_integrations.adapters.page_results.records import ImageMode
from jina_vllm_integrations.adapters.page_results.showing import PageResults
from jina_vllm_integrations.adapters.thumbnails import LEAST_BYTES, Thumbnails
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.images import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_Setting = TypeVar("_Setting")


def page_results(
    retriever: object,
    *,
    image_mode: ImageMode,
    k: int,
    max_k: int,
    max_characters: int,
    thumbnail_side: int,
    thumbnail_bytes: int,
    image_url: Callable[[Any], str | None] | None,
    image_keys: Iterable[str] | None,
    allowed_image_roots: Iterable[str | Path] | None,
    allow_image_urls: bool | None,
    image_limits: ImageLimits | None,
) -> PageResults:
    """Return what shows the pages that a retriever finds.

    Args:
        retriever: Whose own attributes count, of the last four, where the caller says nothing.
        image_mode: As the tools document it, like all that follow.
        k: Checked only, like ``max_k``.
        max_k: At least ``k``.
        max_characters: 0 for none.
        thumbnail_side: In pixels.
        thumbnail_bytes: At least `LEAST_BYTES`.
        image_url: For two of the modes only.
        image_keys: Several.
        allowed_image_roots: Several.
        allow_image_urls: Whether.
        image_limits: What an image may cost.

    Raises:
        OptionError: A value that does not exist or does not fit.
    """
    check_choice("image_mode", image_mode, ImageMode)
    check_count("k", k)
    check_count("max_k", max_k, least=k)
    check_count("max_characters", max_characters, least=0)
    check_count("thumbnail_side", thumbnail_side)
    check_count("thumbnail_bytes", thumbnail_bytes, least=LEAST_BYTES)
    if image_url is not None and image_mode not in ("url", "reference"):
        raise OptionError(f"image_url is for image_mode='url' or 'reference', got {image_mode!r}. Choose one of them.")
    return PageResults(
        mode=image_mode,
        images=PageImages.of(
            keys=_chosen(image_keys, retriever, "image_keys", IMAGE_KEYS),
            roots=_chosen(allowed_image_roots, retriever, "allowed_image_roots", ()),
            urls=_chosen(allow_image_urls, retriever, "allow_image_urls", otherwise=False),
        ),
        thumbnails=Thumbnails(
            side=thumbnail_side,
            max_bytes=thumbnail_bytes,
            limits=_chosen(image_limits, retriever, "image_limits", ImageLimits()),
        ),
        image_url=image_url,
        max_characters=max_characters,
    )


def _chosen(given: _Setting | None, retriever: object, name: str, otherwise: _Setting) -> _Setting:
    """Return a setting: the caller's, or else the retriever's own."""
    return getattr(retriever, name, otherwise) if given is None else given
