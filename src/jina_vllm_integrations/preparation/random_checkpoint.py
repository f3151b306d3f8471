"""A small checkpoint with random weights in the real layout, to run the real engine anywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from jina_vllm_integrations.model.files import read_json, write_json
from jina_vllm_integrations.model.projectors import PROJECTOR_FILE
from jina_vllm_integrations.types import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TASKS = list(get_args(Task))
_TOKEN_DIMENSIONS = 128
_PATCH_SIZE = 14
_MERGE_SIZE = 2


def write_random_checkpoint(
    directory: str | Path,
    *,
    hidden_size: int = 256,
    text_config: Mapping[str, Any] = MappingProxyType({}),
    vision_config: Mapping[str, Any] = MappingProxyType({}),
    dtype: str = "float32",
    device: str = "cpu",
    seed: int = 0,
) -> Path:
    """Write a Qwen2.5-VL checkpoint of jina-embeddings-v4's layout with random weights, unless it is there.

    Its vectors mean nothing, but they depend on every token and pixel, and equal arguments give
    equal weights. Needs torch and transformers, which vLLM brings. Takes a second.

    Args:
        directory: Where to write; made at once or not at all.
        hidden_size: Size of the dense vectors, a multiple of 128.
        text_config: Values that replace the language model's small ones.
        vision_config: Values that replace the vision encoder's small ones.
        dtype: Of the weights, as torch names it.
        device: Where the weights are drawn; a GPU draws a full-size model in seconds.
        seed: Of the weights.

    Returns:
        The directory.
    """
    directory = Path(directory)
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        unfinished = Path(scratch) / directory.name
        unfinished.mkdir()
        tokenizer = byte_level_tokenizer()
        write_tokenizer(unfinished, tokenizer)
        config = model_config(tokenizer, hidden_size=hidden_size, text=text_config, vision=vision_config)
        _write_model(unfinished, config, dtype=dtype, device=device, seed=seed)
        _write_projectors(unfinished, hidden_size=hidden_size, seed=seed)
        write_processor(unfinished)
        try:
            unfinished.replace(directory)
        except OSError:
            if not directory.is_dir():  # another run was first, with equal weights
                raise
    return directory


def byte_level_tokenizer() -> Tokenizer:
    """Return a tokenizer without merges: a token is a byte or one of Qwen2.5-VL's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: id_ for id_, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def _write_model(directory: Path, config: Any, *, dtype: str, device: str, seed: int) -> None:
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config).to(getattr(torch, dtype))
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight") or "norm1" in name or "norm2" in name or "ln_q" in name:
                # Uneven, so that tokens differ in length, as in a trained model.
                weight.copy_(torch.exp(0.5 * torch.randn_like(weight)))
            elif weight.ndim > 1:
                # Unit gain: the states depend on the whole input, images included.
                fan_in = weight[0].numel() if "embed_tokens" not in name else 1
                weight.normal_(std=fan_in**-0.5)
            else:
                weight.normal_(std=0.1)
    model.save_pretrained(directory)
    hidden_size = config.get_text_config().hidden_size
    config_file = directory / "config.json"
    write_json(
        config_file,
        {
            **read_json(config_file),
            "architectures": ["JinaEmbeddingsV4ForVLLM"],
            "matryoshka_dimensions": [hidden_size // 4, hidden_size // 2, hidden_size],
            "multi_vector_dim": _TOKEN_DIMENSIONS,
            "jina_tasks": _TASKS,
        },
    )


def _write_projectors(directory: Path, *, hidden_size: int, seed: int) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    tensors = {}
    for task in _TASKS:
        weight = rng.standard_normal((_TOKEN_DIMENSIONS, hidden_size), dtype=np.float32)
        tensors[f"{task}.weight"] = weight / np.float32(hidden_size**0.5)
        tensors[f"{task}.bias"] = rng.standard_normal(_TOKEN_DIMENSIONS, dtype=np.float32) / np.float32(10)
    (directory / PROJECTOR_FILE).parent.mkdir()
    save_file(tensors, directory / PROJECTOR_FILE)


def model_config(
    tokenizer: Tokenizer,
    *,
    hidden_size: int,
    text: Mapping[str, Any] = MappingProxyType({}),
    vision: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Return a small ``Qwen2_5_VLConfig``.

    Args:
        tokenizer: Knows `SPECIAL_TOKENS`.
        hidden_size: Size of the dense vectors.
        text: Values that replace the language model's.
        vision: Values that replace the vision encoder's.
    """
    from transformers import Qwen2_5_VLConfig

    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    text_config = {
        "vocab_size": tokenizer.get_vocab_size() + 2,
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": 2,
        "num_attention_heads": hidden_size // 128,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        **text,
    }
    vision_config = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 100,  # no multiple of 64, like the real one: the plugin pads it
        "num_heads": 2,
        "in_chans": 3,
        "out_hidden_size": hidden_size,
        "patch_size": _PATCH_SIZE,
        "spatial_merge_size": _MERGE_SIZE,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
        **vision,
    }
    return Qwen2_5_VLConfig(
        text_config=text_config,
        vision_config=vision_config,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def write_tokenizer(directory: Path, tokenizer: Tokenizer) -> None:
    """Write a tokenizer as vLLM loads it."""
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    )


def write_processor(directory: Path, *, max_pixels: int = 602112) -> None:
    """Write the image processor's settings: Qwen2-VL's, with the pixel limits of jina-embeddings-v4."""
    write_json(
        directory / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
            "patch_size": _PATCH_SIZE,
            "merge_size": _MERGE_SIZE,
            "temporal_patch_size": 2,
            "min_pixels": 3136,
            "max_pixels": max_pixels,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "rescale_factor": 1 / 255,
        },
    )
