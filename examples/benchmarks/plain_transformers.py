"""jina-embeddings-v4's dense vectors by transformers alone: Qwen2.5-VL, a batch at a time, and the model's pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from device import device
from encode_loop import IMAGE_PROMPT, decoded
from random_items import PREFIX
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import is_flash_attn_2_available

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

IMAGE_PAD = "<|image_pad|>"
DEVICE = device()
ATTENTION = "flash_attention_2" if is_flash_attn_2_available() else "sdpa"


class PlainTransformers:
    """The model on the GPU where there is one; images are processed there as well.

    Args:
        checkpoint: Its directory. Tokenizer and image processor are loaded apart, since no processor for videos is
            needed.
        dtype: By default that of its weights.
    """

    def __init__(self, checkpoint: str, dtype: str = "auto") -> None:
        attention = ATTENTION if dtype != "float32" else "sdpa"
        model = AutoModel.from_pretrained(checkpoint, dtype=dtype, attn_implementation=attention)
        self._model = model.to(DEVICE).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self._image_processor = AutoImageProcessor.from_pretrained(checkpoint)

    @torch.inference_mode()
    def embed(self, items: Sequence[Any], batch_size: int) -> np.ndarray:
        """Embed texts, or images as the contents of files. *Shape:* ``(len(items), hidden_size)``, float32."""
        embed_batch = self._embed_texts if isinstance(items[0], str) else self._embed_images
        starts = range(0, len(items), batch_size)
        vectors = [embed_batch(items[start : start + batch_size]).cpu() for start in starts]
        return torch.cat(vectors).numpy()

    def _embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        ids, attended = self._tokens([PREFIX + text for text in texts])
        states = self._model(input_ids=ids, attention_mask=attended, use_cache=False).last_hidden_state
        return pooled(states, attended)

    def _embed_images(self, files: Sequence[bytes]) -> torch.Tensor:
        images = [decoded(file) for file in files]
        pixels = self._image_processor(images=images, return_tensors="pt", device=DEVICE).to(DEVICE)
        cells = pixels["image_grid_thw"].prod(dim=1) // self._image_processor.merge_size**2
        ids, attended = self._tokens([IMAGE_PROMPT.replace(IMAGE_PAD, IMAGE_PAD * count) for count in cells.tolist()])
        config = self._model.config
        is_cell = ids == config.image_token_id
        states = self._model(
            input_ids=ids, attention_mask=attended, mm_token_type_ids=is_cell.long(), use_cache=False, **pixels
        ).last_hidden_state
        return pooled(states, is_cell | (ids == config.vision_start_token_id) | (ids == config.vision_end_token_id))

    def _tokens(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self._tokenizer(prompts, padding=True, return_tensors="pt").to(DEVICE)
        return tokens["input_ids"], tokens["attention_mask"]


def pooled(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average the masked states of each prompt in float32 and scale the mean to unit length."""
    means = (states.float() * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return torch.nn.functional.normalize(means, dim=-1)
