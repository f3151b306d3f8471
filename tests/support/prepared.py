"""What stands in base repositories and in what is made of them."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file

from base_repo import ALPHA, RANK, adapter_names, projector_names

# One unit in the last place.
ONE_ROUNDING = {torch.float32: {"rtol": 2**-22, "atol": 1e-6}, torch.bfloat16: {"rtol": 2**-7, "atol": 0}}
ADAPTERS = "adapters/adapter_model.safetensors"
A_QUERY, B_QUERY = adapter_names(1, "self_attn.q_proj", "code")


def weights_of(directory):
    """Return all weights of a directory, which its index must list where they are."""
    weights = {}
    homes = {}
    for file in sorted(directory.glob("*.safetensors")):
        found = load_file(file)
        assert not weights.keys() & found.keys()
        weights |= found
        homes |= dict.fromkeys(found, file.name)
    index = directory / "model.safetensors.index.json"
    if index.exists():
        assert json.loads(index.read_text())["weight_map"] == homes
    return weights


def merge(weight, adapters, names):
    """Return a weight with its adapter, by the formula."""
    down, up = (adapters[name].float() for name in names)
    return (weight.float() + ALPHA / RANK * (up @ down)).to(weight.dtype)


def expected_projectors(repo, tasks):
    """Return the projector of each task in float32, by the formula."""
    weights, adapters = weights_of(repo), load_file(repo / ADAPTERS)
    projectors = {}
    for task in tasks:
        weight = weights["multi_vector_projector.weight"].float()
        projectors[f"{task}.weight"] = merge(weight, adapters, projector_names(task))
        projectors[f"{task}.bias"] = weights["multi_vector_projector.bias"].float()
    return projectors


def base_names(repo):
    """Return the names of the weights that are not the projector's."""
    return {name for name in weights_of(repo) if not name.startswith("multi_vector_projector.")}


def layer_weight(weights, layer, linear):
    """Return the name of a layer's weight, in whichever style."""
    (name,) = (name for name in weights if name.endswith(f"layers.{layer}.{linear}.weight"))
    return name


def rewrite(file, change):
    """Change the tensors of a file."""
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def edit_json(file, change):
    """Change the object in a file."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def names_in(directory):
    """Return the names of all that is in a directory, hidden or not."""
    return {path.name for path in directory.iterdir()}


def state_of(directory):
    """Return what changes when a directory or anything directly in it is written or replaced."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (directory, *directory.iterdir())}


LAYOUTS = [
    {"dtype": "float32", "shards": 1},
    {"dtype": "bfloat16", "shards": 2},
    {"dtype": "bfloat16", "shards": 1, "flat_names": True},
]
