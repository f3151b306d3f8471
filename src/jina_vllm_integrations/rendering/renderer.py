"""vLLM's own rendering of one image, away from its engine."""

from __future__ import annotations

import uuid
from itertools import count
from typing import TYPE_CHECKING, Any

from PIL import Image

from jina_vllm_integrations.images import inspect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jina_vllm_integrations.images import ImageHandle

# Another process's are another process's business: this one computes nothing.
_PARALLEL = {"data_parallel_size", "pipeline_parallel_size", "tensor_parallel_size"}


class Renderer:
    """Turns images into inputs of an engine of equal options.

    Args:
        options: vLLM's engine arguments by name.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        from vllm import EngineArgs
        from vllm.renderers import renderer_from_config

        arguments = EngineArgs(**{name: value for name, value in options.items() if name not in _PARALLEL})
        self._renderer = renderer_from_config(arguments.create_engine_config())
        self._count = count()
        self.renew_names()

    def renew_names(self) -> None:
        """Name what is rendered from now on as no other process does; a fork must."""
        self._name = uuid.uuid4().hex

    def render(self, image: ImageHandle, token_ids: Sequence[int]) -> dict[str, Any]:
        """Decode an image and render its prompt.

        Returns:
            vLLM's ``EngineInput``.

        Raises:
            ImageError: As `ImageHandle.load`.
        """
        prompt = {"prompt_token_ids": list(token_ids), "multi_modal_data": {"image": image.load()}}
        rendered: dict[str, Any]
        (rendered,) = self._renderer.render_cmpl([prompt])
        # vLLM finds an image's states by this name, and without its caches it only counts: all would be image 1.
        rendered["mm_hashes"] = {"image": [f"{self._name}-{next(self._count)}"]}
        return rendered

    def warm_up(self, token_ids: Sequence[int]) -> None:
        """Render a blank image: the first one loads a second's worth of code."""
        self.render(inspect(Image.new("RGB", (64, 64))), token_ids)
