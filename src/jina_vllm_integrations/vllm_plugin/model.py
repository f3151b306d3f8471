"""Qwen2.5-VL with jina-embeddings-v4's pooling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from vllm.model_executor.models.interfaces import SupportsLateInteraction
from vllm.model_executor.models.interfaces_base import default_pooling_type
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.platforms import current_platform

from jina_vllm_integrations.model.projectors import PROJECTOR_FILE, read_projectors
from jina_vllm_integrations.vllm_plugin.padding import padded_weights, padded_width
from jina_vllm_integrations.vllm_plugin.pixels import PixelScale, takes_raw_pixels
from jina_vllm_integrations.vllm_plugin.pooler import JinaPooler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm.config import VllmConfig


# LAST and ALL leave vLLM's chunked prefill on; which rows count is the pooler's own business.
@default_pooling_type(seq_pooling_type="LAST", tok_pooling_type="ALL")
@MULTIMODAL_REGISTRY.register_processor(
    Qwen2_5_VLMultiModalProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class JinaEmbeddingsV4ForVLLM(Qwen2_5_VLForConditionalGeneration, SupportsLateInteraction):
    """The model that a prepared checkpoint names in its ``architectures``.

    From ``config.json`` it reads ``jina_tasks`` and ``multi_vector_dim``. The projectors are in the checkpoint's own
    file, or in the one that ``jina_projectors`` names. Without them it gives dense vectors only.
    """

    is_pooling_model = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        config = vllm_config.model_config.hf_config
        # What is quantised before it is loaded is of its own width, with scales to it.
        is_quantized = getattr(config, "quantization_config", None) is not None
        self._pads = not is_quantized and vllm_config.load_config.load_format != "bitsandbytes"
        if self._pads:
            config.vision_config.intermediate_size = padded_width(config.vision_config.intermediate_size)
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if takes_raw_pixels(vllm_config):
            self.visual.register_forward_pre_hook(PixelScale(vllm_config.model_config.hf_image_processor_config))
        if current_platform.is_cuda():
            # Between its kernels a step has many small operations on the CPU. Shared by all cores they take longer, and
            # the GPU waits: 56 pages a second become 33.
            torch.set_num_threads(1)
        self._projector_file = _projector_file(vllm_config)
        hidden_size = config.get_text_config().hidden_size
        tasks = config.jina_tasks if self._projector_file else ()
        # In float32, as the projection costs nothing beside the model.
        self.multi_vector_projector = nn.ModuleDict(
            {task: nn.Linear(hidden_size, config.multi_vector_dim, dtype=torch.float32) for task in tasks}
        )
        self.pooler = JinaPooler(
            self.multi_vector_projector,
            vision_start=config.vision_start_token_id,
            vision_end=config.vision_end_token_id,
            pickled=vllm_config.parallel_config.distributed_executor_backend != "uni",
        )

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load the model's weights, then the projectors from their own file. Returns the names of all."""
        loaded: set[str] = super().load_weights(padded_weights(weights) if self._pads else weights)
        if self._projector_file is not None:
            for task, projector in read_projectors(self._projector_file).items():
                if task in self.multi_vector_projector:
                    layer = self.multi_vector_projector[task]
                    layer.weight.data.copy_(torch.from_numpy(projector.weight))
                    layer.bias.data.copy_(torch.from_numpy(projector.bias))
        return loaded | {f"multi_vector_projector.{name}" for name, _ in self.multi_vector_projector.named_parameters()}


def _projector_file(vllm_config: VllmConfig) -> Path | None:
    named = getattr(vllm_config.model_config.hf_config, "jina_projectors", None)
    file = Path(named) if named else Path(vllm_config.model_config.model) / PROJECTOR_FILE
    return file if named or file.is_file() else None
