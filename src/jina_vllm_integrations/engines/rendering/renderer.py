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

# How an engine is spread over processes; this one computes nothing.
_PARALLEL = {
    *("data_parallel_size", "decode_context_parallel_size", "distributed_executor_backend", "pipeline_parallel_size"),
    "tensor_parallel_size",
}


class Renderer:
    """Turns images into inputs of an engine of equal options.

    Args:
        options: vLLM's engine arguments by name.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        from vllm import EngineArgs
        from vllm.renderers import renderer_from_config

        of_one = {name: value for name, value in options.items() if name not in _PARALLEL}
        # A cache would leave out the pixels of an image that it has seen, and the engine's twin of it is elsewhere.
        arguments = EngineArgs(**{**of_one, "mm_processor_cache_gb": 0})
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
