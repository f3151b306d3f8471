"""A tool that searches pages, of settings that are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.adapters.chosen_access import ChosenAccess
from jina_vllm_integrations.adapters.page_results.arguments import search_arguments
from jina_vllm_integrations.adapters.page_results.records import ImageMode
from jina_vllm_integrations.adapters.page_results.showing import PageResults
from jina_vllm_integrations.adapters.page_results.wording import general_description
from jina_vllm_integrations.adapters.thumbnails import LEAST_BYTES, Thumbnails
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_choice, check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pydantic import BaseModel

    from jina_vllm_integrations.images import ImageLimits


@dataclass(frozen=True, kw_only=True)
class PageTool:
    """A tool that searches pages, in no framework's terms.

    Attributes:
        description: What a language model is told of it.
        arguments: What the model may pass.
        results: Shows what is found.
    """

    description: str
    arguments: type[BaseModel]
    results: PageResults


def page_tool(
    retriever: object,
    *,
    description: str | None,
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
) -> PageTool:
    """Return what a tool that searches by a retriever says, takes and shows.

    Args:
        retriever: Whose own attributes count, of the last four, where the caller says nothing.
        description: As the tools document it, like all that follow.
        image_mode: How images come.
        k: How many pages, unless the model asks for another number.
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
    access = ChosenAccess.of(
        retriever,
        image_keys=image_keys,
        allowed_image_roots=allowed_image_roots,
        allow_image_urls=allow_image_urls,
        image_limits=image_limits,
    )
    results = PageResults(
        mode=image_mode,
        images=access.images,
        thumbnails=Thumbnails(side=thumbnail_side, max_bytes=thumbnail_bytes, limits=access.limits),
        image_url=image_url,
        max_characters=max_characters,
    )
    return PageTool(
        description=general_description(image_mode) if description is None else description,
        arguments=search_arguments(k, max_k),
        results=results,
    )
