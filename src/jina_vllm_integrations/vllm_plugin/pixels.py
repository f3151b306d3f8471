"""Raw pixels on their way into the vision encoder, with a vLLM that does not normalise them itself: below 0.29.

A byte a value instead of four travels between the processes, and the division is the GPU's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn
    from vllm.config import VllmConfig


def takes_raw_pixels(vllm_config: VllmConfig) -> bool:
    """Whether the image processor was told to leave the pixels as they are, and vLLM leaves the rest to the model."""
    multimodal = vllm_config.model_config.multimodal_config
    told = multimodal.mm_processor_kwargs or {}
    is_raw = told.get("do_rescale") is False and told.get("do_normalize") is False
    return is_raw and not hasattr(multimodal, "mm_device_do_normalize")


class PixelScale:
    """A hook before the vision encoder: from levels of 0 to 255 to what the image processor makes of them in float32.

    Args:
        processor: The checkpoint's ``preprocessor_config.json``.
    """

    def __init__(self, processor: Mapping[str, Any]) -> None:
        levels = 1 / processor["rescale_factor"]
        # Models are made under a default dtype of their own, which may be bfloat16.
        self._mean = torch.tensor(processor["image_mean"], dtype=torch.float32)[:, None] * levels
        self._deviation = torch.tensor(processor["image_std"], dtype=torch.float32)[:, None] * levels

    def __call__(self, _encoder: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Replace the pixels among the encoder's arguments.

        Args:
            arguments: The pixels first. *Shape:* ``(n_patches, 3 * temporal_patch_size * patch_size**2)``, colour after
                colour; of any dtype that holds 0 to 255.
        """
        pixels, *others = arguments
        self._mean, self._deviation = self._mean.to(pixels.device), self._deviation.to(pixels.device)
        colours = pixels.reshape(len(pixels), len(self._mean), -1).float()
        return ((colours - self._mean) / self._deviation).reshape(pixels.shape), *others
