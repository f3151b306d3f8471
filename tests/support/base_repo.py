"""A small base repository, laid out as jinaai/jina-embeddings-v4."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from jina_vllm_integrations.preparation.random_checkpoint import write_random_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

TASKS = ("retrieval", "text-matching", "code")
LINEARS = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
RANK = 4
ALPHA = 8
MULTI_VECTOR_DIM = 128


def write_base_repo(
    directory: Path, *, dtype: str = "float32", shards: int = 1, seed: int = 0, flat_names: bool = False
) -> Path:
    """Write a base repository of two layers and 256 dimensions. Equal arguments give equal weights.

    Args:
        directory: A new directory.
        dtype: Of all weights, as torch names it.
        shards: One file ``model.safetensors``, or this many with an index.
        seed: Of all weights.
        flat_names: Whether the weights are named as before transformers 4.52: ``model.layers.0…``
            and ``visual.…``, not ``model.language_model.layers.0…`` and ``model.visual.…``.
    """
    write_random_checkpoint(directory, seed=seed)
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    shutil.rmtree(directory / "multi_vector")
    draw = torch.Generator().manual_seed(seed)
    adapters = _adapters(weights, draw)
    hidden_size = weights["model.embed_tokens.weight"].shape[1]
    weights["multi_vector_projector.weight"] = _normal(draw, MULTI_VECTOR_DIM, hidden_size, std=hidden_size**-0.5)
    weights["multi_vector_projector.bias"] = _normal(draw, MULTI_VECTOR_DIM, std=0.1)
    if not flat_names:
        weights = {_nested(name): weight for name, weight in weights.items()}
    weights, adapters = (
        {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()} for tensors in (weights, adapters)
    )
    _write_weights(directory, weights, shards)
    (directory / "adapters").mkdir()
    save_file(adapters, directory / "adapters" / "adapter_model.safetensors", {"format": "pt"})
    _write_json(
        directory / "adapters" / "adapter_config.json",
        {
            "base_model_name_or_path": "jinaai/jina-embeddings-v4",
            "bias": "none",
            "exclude_modules": ".*visual.*",
            "lora_alpha": ALPHA,
            "peft_type": "LORA",
            "r": RANK,
            "rank_pattern": {},
            "use_dora": False,
        },
    )
    _write_metadata(directory, dtype)
    return directory


def adapter_names(layer: int, linear: str, task: str) -> tuple[str, str]:
    """Return the names of a layer's A and B in the adapters' file."""
    module = f"base_model.model.model.language_model.layers.{layer}.{linear}"
    return f"{module}.lora_A.{task}.weight", f"{module}.lora_B.{task}.weight"


def projector_names(task: str) -> tuple[str, str]:
    """Return the names of the projector's A and B in the adapters' file."""
    module = "base_model.model.multi_vector_projector"
    return f"{module}.lora_A.{task}.weight", f"{module}.lora_B.{task}.weight"


def _adapters(weights: dict[str, torch.Tensor], draw: torch.Generator) -> dict[str, torch.Tensor]:
    hidden_size = weights["model.embed_tokens.weight"].shape[1]
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
    adapters = {}
    for task in TASKS:
        shapes = {
            adapter_names(layer, linear, task): weights[f"model.layers.{layer}.{linear}.weight"].shape
            for layer in range(layers)
            for linear in LINEARS
        }
        shapes[projector_names(task)] = torch.Size((MULTI_VECTOR_DIM, hidden_size))
        for (down, up), (rows, columns) in shapes.items():
            # The product is as large as the weight it is added to, so tasks differ as models do.
            adapters[down] = _normal(draw, RANK, columns, std=columns**-0.5)
            adapters[up] = _normal(draw, rows, RANK, std=RANK**0.5 / ALPHA)
    return adapters


def _normal(draw: torch.Generator, *shape: int, std: float) -> torch.Tensor:
    return torch.randn(shape, generator=draw) * std


def _nested(name: str) -> str:
    if name.startswith("visual."):
        return f"model.{name}"
    return f"model.language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name


def _write_weights(directory: Path, weights: dict[str, torch.Tensor], shards: int) -> None:
    if shards == 1:
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        return
    names = list(weights)
    homes = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        # In turn, so that a layer's weights are in several files.
        save_file({name: weights[name] for name in names[shard::shards]}, directory / file, {"format": "pt"})
        homes |= dict.fromkeys(names[shard::shards], file)
    size = sum(weight.nbytes for weight in weights.values())
    _write_json(
        directory / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": dict(sorted(homes.items()))},
    )


def _write_metadata(directory: Path, dtype: str) -> None:
    config = json.loads((directory / "config.json").read_text())
    sizes = config.pop("matryoshka_dimensions")
    del config["jina_tasks"], config["multi_vector_dim"]
    config |= {
        "architectures": ["JinaEmbeddingsV4Model"],
        "auto_map": {"AutoModel": "modeling_jina_embeddings_v4.JinaEmbeddingsV4Model"},
        "dtype": dtype,
        "matryoshka_dims": sizes,
        "multi_vector_projector_dim": MULTI_VECTOR_DIM,
        "single_vector_pool_strategy": "mean",
        "task_names": list(TASKS),
    }
    _write_json(directory / "config.json", config)
    processor = json.loads((directory / "preprocessor_config.json").read_text())
    processor["auto_map"] = {"AutoProcessor": "modeling_jina_embeddings_v4.JinaEmbeddingsV4Processor"}
    _write_json(directory / "preprocessor_config.json", processor)
    (directory / "modeling_jina_embeddings_v4.py").write_text('raise RuntimeError("never imported")\n')
    (directory / "README.md").write_text("A small stand-in for jinaai/jina-embeddings-v4.\n")


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
