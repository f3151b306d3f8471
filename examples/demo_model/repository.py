"""The miniature on disk, laid out as the base repository ``jinaai/jina-embeddings-v4``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from model import ALPHA, RANK, TASKS, TOKEN_DIMENSIONS, Miniature
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from jina_vllm_integrations.model.files import read_json, write_json
from jina_vllm_integrations.preparation.random_checkpoint import (
    SPECIAL_TOKENS,
    model_config,
    write_processor,
    write_tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HIDDEN_SIZE = 256
_VOCABULARY = 1536
_PEFT = "base_model.model."


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Train byte pairs on texts. What the texts lack is spelled in bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def small_config(tokenizer: Tokenizer) -> Any:
    """Return the miniature's ``Qwen2_5_VLConfig``."""
    depth = 4
    return model_config(
        tokenizer,
        hidden_size=HIDDEN_SIZE,
        text={
            "vocab_size": _VOCABULARY,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "max_position_embeddings": 2048,
            # Positions are few; the real model's base would hardly turn the axes of height and width.
            "rope_parameters": {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1000.0},
        },
        vision={
            "depth": depth,
            "hidden_size": 160,
            "intermediate_size": 320,
            "num_heads": 5,
            "fullatt_block_indexes": list(range(depth)),
        },
    )


def write_repository(directory: Path, model: Miniature, config: Any, tokenizer: Tokenizer) -> None:
    """Write all that `jina_vllm_integrations.prepare` reads, weights in bfloat16.

    Args:
        directory: A new directory, or one whose files are replaced.
        model: Its weights.
        config: Its sizes.
        tokenizer: Its tokenizer.
    """
    (directory / "adapters").mkdir(parents=True, exist_ok=True)
    weights: dict[str, torch.Tensor] = {}
    adapters: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        stored = tensor.to("cpu", torch.bfloat16).contiguous()
        if ".lora_" in name:
            adapters[_PEFT + name] = stored
        else:
            weights[name] = stored
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    save_file(adapters, directory / "adapters" / "adapter_model.safetensors", {"format": "pt"})
    write_json(
        directory / "adapters" / "adapter_config.json",
        {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "exclude_modules": ".*visual.*"},
    )
    config.save_pretrained(directory)
    write_json(
        directory / "config.json",
        {
            **read_json(directory / "config.json"),
            "architectures": ["JinaEmbeddingsV4Model"],
            "dtype": "bfloat16",
            "matryoshka_dims": [HIDDEN_SIZE // 4, HIDDEN_SIZE // 2, HIDDEN_SIZE],
            "multi_vector_projector_dim": TOKEN_DIMENSIONS,
            "single_vector_pool_strategy": "mean",
            "task_names": list(TASKS),
        },
    )
    write_tokenizer(directory, tokenizer)
    # A sixteenth of the real model's pixels, four times those of a page that it was trained on.
    write_processor(directory, max_pixels=4 * 280 * 280)


def read_repository(directory: Path) -> tuple[Miniature, Tokenizer]:
    """Return the model with its weights, in float32, and the tokenizer."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    model = Miniature(small_config(tokenizer), tokenizer)
    weights = load_file(directory / "model.safetensors")
    adapters = load_file(directory / "adapters" / "adapter_model.safetensors")
    weights |= {name.removeprefix(_PEFT): tensor for name, tensor in adapters.items()}
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model, tokenizer
