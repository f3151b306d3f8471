"""The miniature: jina-embeddings-v4's architecture in plain torch, for training in batches of equal shapes.

The arithmetic is that of Qwen2.5-VL in transformers and vLLM (``tests/test_demo_model.py`` compares them), with every
vision layer attending to the whole image, and a LoRA adapter for each task on each linear layer of the language model
and on the multi-vector projector. Parameters have the names of the base repository's tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jina_vllm_integrations.model.prompts import IMAGE_PROMPT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TASKS = ("retrieval", "text-matching", "code")
TOKEN_DIMENSIONS = 128
RANK = ALPHA = 8
# CLIP's, as Qwen2-VL's processor applies them.
_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


class AdaptedLinear(nn.Module):
    """A linear layer with a LoRA adapter for each task, applied as merging applies it: ``W + alpha / r * B @ A``."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.lora_A = nn.ModuleDict({task: nn.Linear(inputs, RANK, bias=False) for task in TASKS})
        self.lora_B = nn.ModuleDict({task: nn.Linear(RANK, outputs, bias=False) for task in TASKS})
        for task in TASKS:
            nn.init.zeros_(self.lora_B[task].weight)

    def forward(self, x: Tensor, task: str) -> Tensor:
        update = self.lora_B[task].weight @ self.lora_A[task].weight
        return functional.linear(x, self.weight + ALPHA / RANK * update, self.bias)


class RMSNorm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, 1e-6)


class VisionAttention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(_rotate(query, rotation), _rotate(key, rotation), value)
        return self.proj(attended.transpose(1, 2).flatten(2))


class VisionMLP(nn.Module):
    def __init__(self, size: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size, inner)
        self.up_proj = nn.Linear(size, inner)
        self.down_proj = nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class VisionBlock(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(config.hidden_size), RMSNorm(config.hidden_size)
        self.attn = VisionAttention(config.hidden_size, config.num_heads)
        self.mlp = VisionMLP(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attn(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        kernel = (config.temporal_patch_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(config.in_channels, config.hidden_size, kernel, kernel, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        # A picture is a film of equal frames, so their kernels add up.
        return functional.linear(patches, self.proj.weight.sum(dim=2).flatten(1))


class Merger(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        merged = config.hidden_size * config.spatial_merge_size**2
        self.ln_q = RMSNorm(config.hidden_size)
        self.mlp = nn.Sequential(nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, config.out_hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.ln_q(x).unflatten(1, (-1, 4)).flatten(2))


class Vision(nn.Module):
    """From pixels to one state a cell."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.patch, self.merge = config.patch_size, config.spatial_merge_size
        self.head_size = config.hidden_size // config.num_heads
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))
        self.merger = Merger(config)
        self.register_buffer("mean", torch.tensor(_PIXEL_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(_PIXEL_STD), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pictures of one size.

        Args:
            pixels: *Shape:* ``(n, height, width, channels)``, uint8, one channel or three.

        Returns:
            In reading order. *Shape:* ``(n, cells, out_hidden_size)``.
        """
        normal = (pixels.float() / 255 - self.mean) / self.std
        rows, columns = pixels.shape[1] // self.patch // self.merge, pixels.shape[2] // self.patch // self.merge
        # Cell by cell, and within a cell patch by patch, each with its channels first.
        patches = normal.reshape(-1, rows, self.merge, self.patch, columns, self.merge, self.patch, 3)
        patches = patches.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(len(pixels), rows * columns * self.merge**2, -1)
        x = self.patch_embed(patches)
        rotation = self._rotation(rows, columns)
        for block in self.blocks:
            x = block(x, rotation)
        return self.merger(x)

    def _rotation(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        device = self.mean.device
        y, x = torch.meshgrid(
            torch.arange(rows * self.merge, device=device),
            torch.arange(columns * self.merge, device=device),
            indexing="ij",
        )
        places = torch.stack([y, x], dim=-1).reshape(rows, self.merge, columns, self.merge, 2)
        places = places.permute(0, 2, 1, 3, 4).reshape(-1, 2)
        half = self.head_size // 2
        frequencies = 10_000.0 ** -(torch.arange(0, half, 2, device=device) / half)
        return _turns((places[..., None] * frequencies).flatten(1))


class SelfAttention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        size, self.heads, self.kv_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.head_size = size // self.heads
        self.q_proj = AdaptedLinear(size, size, bias=True)
        self.k_proj = AdaptedLinear(size, self.kv_heads * self.head_size, bias=True)
        self.v_proj = AdaptedLinear(size, self.kv_heads * self.head_size, bias=True)
        self.o_proj = AdaptedLinear(size, size)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], task: str) -> Tensor:
        query, key, value = (
            linear(x, task).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        shared = self.heads // self.kv_heads
        key, value = (_rotate(key, rotation).repeat_interleave(shared, 1), value.repeat_interleave(shared, 1))
        attended = functional.scaled_dot_product_attention(_rotate(query, rotation), key, value, is_causal=True)
        return self.o_proj(attended.transpose(1, 2).flatten(2), task)


class MLP(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate_proj = AdaptedLinear(config.hidden_size, config.intermediate_size)
        self.up_proj = AdaptedLinear(config.hidden_size, config.intermediate_size)
        self.down_proj = AdaptedLinear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor, task: str) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x, task)) * self.up_proj(x, task), task)


class Layer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(config.hidden_size), RMSNorm(config.hidden_size)
        self.self_attn = SelfAttention(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], task: str) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotation, task)
        return x + self.mlp(self.post_attention_layernorm(x), task)


class LanguageModel(nn.Module):
    """From a prompt's embeddings to its states after the last norm."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        head_size = config.hidden_size // config.num_attention_heads
        rope = config.rope_parameters
        self.sections = list(rope["mrope_section"])
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size)
        frequencies = rope["rope_theta"] ** -(torch.arange(0, head_size, 2) / head_size)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor, places: Tensor, task: str) -> Tensor:
        """Run the layers, each token seeing those before it.

        Args:
            x: *Shape:* ``(n, n_tokens, hidden_size)``.
            places: Where each token is in time, height and width. *Shape:* ``(3, n_tokens)``.
            task: Whose adapter.
        """
        angles = (places[..., None] * self.frequencies).split(self.sections, dim=-1)
        rotation = _turns(torch.cat([part[axis] for axis, part in enumerate(angles)], dim=-1))
        for layer in self.layers:
            x = layer(x, rotation, task)
        return self.norm(x)


class Backbone(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.visual = Vision(config.vision_config)
        self.language_model = LanguageModel(config.text_config)


class Miniature(nn.Module):
    """The whole model.

    Args:
        config: A ``Qwen2_5_VLConfig``.
        tokenizer: Reads the image's prompt.
    """

    def __init__(self, config: Any, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = Backbone(config)
        self.multi_vector_projector = AdaptedLinear(config.text_config.hidden_size, TOKEN_DIMENSIONS, bias=True)
        ids = tokenizer.encode(IMAGE_PROMPT).ids
        pad = ids.index(config.image_token_id)
        self.register_buffer("head", torch.tensor(ids[:pad]), persistent=False)
        self.register_buffer("tail", torch.tensor(ids[pad + 1 :]), persistent=False)

    def text_states(self, token_ids: Tensor, task: str) -> Tensor:
        """Return the raw states of prompts padded at their ends, which no token before them sees.

        *Shape:* ``(n, n_tokens)`` to ``(n, n_tokens, hidden_size)``.
        """
        places = torch.arange(token_ids.shape[1], device=token_ids.device).expand(3, -1)
        return self.model.language_model(self.model.language_model.embed_tokens(token_ids), places, task)

    def image_states(self, pixels: Tensor, task: str) -> tuple[Tensor, slice, Tensor]:
        """Return the raw states of pictures of one size, their content's positions, and the vision encoder's cells.

        *Shape:* ``(n, height, width, channels)`` to ``(n, n_tokens, hidden_size)`` and ``(n, cells, hidden_size)``.
        """
        cells = self.model.visual(pixels)
        embed = self.model.language_model.embed_tokens
        n, n_cells = cells.shape[:2]
        x = torch.cat([embed(self.head).expand(n, -1, -1), cells, embed(self.tail).expand(n, -1, -1)], dim=1)
        states = self.model.language_model(x, self._places(pixels.shape[1] // 28, pixels.shape[2] // 28), task)
        return states, slice(len(self.head) - 1, len(self.head) + n_cells + 1), cells

    def token_vectors(self, states: Tensor, task: str) -> Tensor:
        """Project states and scale them to unit length."""
        return functional.normalize(self.multi_vector_projector(states, task).float(), dim=-1)

    def _places(self, rows: int, columns: int) -> Tensor:
        """Return Qwen2-VL's positions: a picture is one moment as long as its longer side."""
        device, start = self.head.device, len(self.head)
        y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
        picture = torch.stack([torch.zeros_like(y), y, x]).flatten(1) + start
        before = torch.arange(start, device=device).expand(3, -1)
        after = torch.arange(len(self.tail), device=device).expand(3, -1) + start + max(rows, columns)
        return torch.cat([before, picture, after], dim=1)


def dense_vectors(states: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Average states over each prompt's length, without scaling the result. *Shape:* ``(n, hidden_size)``."""
    if lengths is None:
        return states.float().mean(dim=1)
    mask = (torch.arange(states.shape[1], device=states.device) < lengths[:, None])[..., None]
    return (states.float() * mask).sum(dim=1) / lengths[:, None]


def _turns(angles: Tensor) -> tuple[Tensor, Tensor]:
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Apply rotary positions. *Shape:* ``(n, heads, n_tokens, head_size)``."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)
