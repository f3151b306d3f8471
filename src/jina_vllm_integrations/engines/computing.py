"""How one request is computed by a running vLLM."""

from __future__ import annotations

import time
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jina_vllm_integrations.engines.adapters import adapter_request
from jina_vllm_integrations.errors import EngineError
from jina_vllm_integrations.model import pooling
from jina_vllm_integrations.model.projectors import Projector, read_projectors
from jina_vllm_integrations.model.prompts import check_image_length
from jina_vllm_integrations.types import Embedding, FloatArray, ImagePrompt, Request

if TYPE_CHECKING:
    import numpy.typing as npt
    from vllm import AsyncLLMEngine

    from jina_vllm_integrations.engines.vllm_options import Pooling
    from jina_vllm_integrations.engines.vllm_runtime import VLLMRuntime
    from jina_vllm_integrations.model.checkpoints import Checkpoint

WireDtype = Literal["float32", "float16"]

# Seconds that a text may come later than an image and still be computed first. Images come by the hundred.
_PATIENCE_OF_IMAGES = 2.0

# So many small images count as one large one.
_SMALL_IMAGES_A_PAGE = 8

_request_ids = count()


class Computation:
    """From a request to an embedding, on a runtime's event loop.

    Args:
        checkpoint: What vLLM serves.
        max_tokens: The longest prompt.
        pooling: Where pooling runs.
        wire_dtype: How vectors leave vLLM's process, where pooling runs there.
    """

    def __init__(self, checkpoint: Checkpoint, *, max_tokens: int, pooling: Pooling, wire_dtype: WireDtype) -> None:
        self._checkpoint = checkpoint
        self._max_tokens = max_tokens
        self._pooling = pooling
        self._wire_dtype = wire_dtype

    async def compute(self, runtime: VLLMRuntime, request: Request, llm: AsyncLLMEngine) -> Embedding:
        """Compute one request, once the runtime admits it.

        Raises:
            ImageError: The image cannot be had, or is too large for the longest prompt.
            EngineError: The image cannot be rendered, or vLLM lost a part of a prompt.
        """
        if isinstance(request.prompt, ImagePrompt):
            return await self._compute_image(runtime, request, request.prompt, llm)
        # With its type said, vLLM takes a prompt as rendered; without, it hands it to a thread first.
        prompt = {"type": "token", "prompt_token_ids": list(request.prompt.token_ids)}
        async with runtime.admission.text(len(request.prompt.token_ids)):
            return await self._encode(prompt, request, llm)

    async def _compute_image(
        self, runtime: VLLMRuntime, request: Request, prompt: ImagePrompt, llm: AsyncLLMEngine
    ) -> Embedding:
        image = prompt.image
        if image.size is None:  # a URL
            image = await runtime.fetch(image)
            assert image.size is not None
        grid = self._checkpoint.grid.of(*image.size)
        check_image_length(grid, prompt, self._max_tokens)
        async with runtime.admission.pixels.take(self._n_pixels(grid)):
            rendered = await runtime.render(image, prompt.token_ids, llm)
            async with runtime.admission.image(len(rendered["prompt_token_ids"])):
                return await self._encode(rendered, request, llm, grid=grid, patience=_PATIENCE_OF_IMAGES)

    async def _encode(
        self,
        prompt: dict[str, Any],
        request: Request,
        llm: AsyncLLMEngine,
        *,
        grid: tuple[int, int] | None = None,
        patience: float = 0.0,
    ) -> Embedding:
        from vllm import PoolingParams

        answer = llm.encode(
            prompt,
            PoolingParams(task="token_embed", use_activation=False, extra_kwargs=self._pooler_options(request)),
            f"jina-{next(_request_ids)}",
            lora_request=adapter_request(self._checkpoint.adapters, request.task),
            # The earliest deadline first: a text passes the pages in the queue, and cannot keep them out for ever.
            priority=int(1000 * (time.monotonic() + patience)),
        )
        *_, output = [part async for part in answer]
        data = output.outputs.data.float().numpy()
        return self._embedding(request, data, np.asarray(output.prompt_token_ids, dtype=np.int64), grid)

    def _n_pixels(self, grid: tuple[int, int]) -> int:
        """Return how many pixels an image counts. A small one costs more than those that it has."""
        rows, columns = grid
        return max(
            rows * columns * self._checkpoint.grid.cell**2, self._checkpoint.grid.max_pixels // _SMALL_IMAGES_A_PAGE
        )

    def _pooler_options(self, request: Request) -> dict[str, Any] | None:
        if self._pooling == "client":
            return None
        return {
            "output": request.output,
            "dimensions": request.dimensions,
            "task": request.task,
            "wire_dtype": self._wire_dtype,
        }

    @cached_property
    def _projectors(self) -> dict[str, Projector]:
        assert self._checkpoint.projector_file is not None
        return read_projectors(self._checkpoint.projector_file)

    def _embedding(
        self,
        request: Request,
        data: FloatArray,
        token_ids: npt.NDArray[np.int64],
        grid: tuple[int, int] | None,
    ) -> Embedding:
        special = self._checkpoint.special
        if self._pooling == "client":
            if len(data) != len(token_ids):  # vLLM's first model runner, once it has preempted a chunked prompt
                raise EngineError(
                    f"vLLM returned {len(data)} states for {len(token_ids)} tokens. Embed the item again; give vLLM "
                    "more KV cache (kv_cache_memory_bytes) to keep this from happening."
                )
            projector = None if request.output == "dense" else self._projectors[request.task]
            return pooling.pool(data, token_ids, special, request, projector=projector, grid=grid)
        if request.output == "dense":
            return Embedding(dense=data)
        dense = None
        if request.output == "both":  # one row, the dense vector first
            dense, data = np.split(data, [request.dimensions or self._checkpoint.hidden_size])
            dense = dense.copy()  # not a view that keeps the token vectors alive
            data = data.reshape(len(token_ids), -1)
        return Embedding(dense=dense, tokens=pooling.with_tokens(data, token_ids, special, grid))
