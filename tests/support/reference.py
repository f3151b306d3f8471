"""jina-embeddings-v4 by transformers and plain torch, written from the paper's reference and from nothing of ours."""

from __future__ import annotations

import torch
from transformers import AutoImageProcessor, PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

IMAGE_HEAD = "<|im_start|>user\n<|vision_start|>"
IMAGE_TAIL = "<|vision_end|>Describe the image.<|im_end|>\n"


class Reference:
    """The model in float32 on the CPU, one item at a time."""

    def __init__(self, checkpoint):
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(checkpoint / "tokenizer.json"))
        self.processor = AutoImageProcessor.from_pretrained(checkpoint)

    @torch.inference_mode()
    def text_states(self, prompt):
        """Return the raw states of a literal prompt. *Shape:* ``(n_tokens, hidden_size)``."""
        ids = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return self.model.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]

    @torch.inference_mode()
    def image_states(self, image):
        """Return the raw states of an RGB image's prompt and the image's grid of cells."""
        pixels = self.processor(images=[image], return_tensors="pt")
        _, rows, columns = (pixels["image_grid_thw"][0]).tolist()
        rows, columns = rows // 2, columns // 2
        prompt = IMAGE_HEAD + "<|image_pad|>" * (rows * columns) + IMAGE_TAIL
        ids = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        output = self.model.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == self.model.config.image_token_id).long(),
            **pixels,
        )
        return output.last_hidden_state[0], (rows, columns)


def dense(states, dimensions=None):
    """Average, cut, scale to unit length."""
    mean = states.double().mean(dim=0)[:dimensions]
    return (mean / mean.norm()).float().numpy()


def tokens(states, weight, bias):
    """Project each state with a task's head and scale it to unit length."""
    projected = states @ weight.T + bias
    return (projected / projected.norm(dim=-1, keepdim=True)).numpy()
