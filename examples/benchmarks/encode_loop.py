"""Stock vLLM as published examples use it: ``LLM.encode`` for every token's state, and a loop that pools."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from random_items import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IMAGE_PROMPT = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
# A token is a byte: before the span come one special token and 'user\n', after it 19 bytes, a special one and '\n'.
IMAGE_SPAN = slice(6, -21)


def encode_loop(checkpoint: str, **options: Any) -> Callable[[Sequence[Any]], np.ndarray]:
    """Start vLLM and return a function from texts (``str``) and images (PIL, or a file's bytes) to dense vectors."""
    from vllm import LLM
    from vllm.config import PoolerConfig

    llm = LLM(
        checkpoint,
        runner="pooling",
        pooler_config=PoolerConfig(task="token_embed", use_activation=False),
        hf_overrides={"architectures": ["Qwen2_5_VLForConditionalGeneration"]},
        enable_prefix_caching=False,
        limit_mm_per_prompt={"image": 1, "video": 0},
        **options,
    )

    def run(items: Sequence[Any]) -> np.ndarray:
        vectors = []
        outputs = llm.encode([prompt(item) for item in items], pooling_task="token_embed", use_tqdm=False)
        for item, output in zip(items, outputs, strict=True):
            states = output.outputs.data if isinstance(item, str) else output.outputs.data[IMAGE_SPAN]
            mean = states.float().mean(dim=0)
            vectors.append((mean / mean.norm()).numpy())
        return np.stack(vectors)

    return run


def prompt(item: Any) -> str | dict[str, Any]:
    """Return what ``LLM.encode`` takes for an item."""
    if isinstance(item, str):
        return f"{PREFIX}{item}"
    return {"prompt": IMAGE_PROMPT, "multi_modal_data": {"image": decoded(item)}}


def decoded(image: Image.Image | bytes) -> Image.Image:
    """Return an image's pixels."""
    return Image.open(BytesIO(image)).convert("RGB") if isinstance(image, bytes) else image
