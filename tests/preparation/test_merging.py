"""Preparation merges adapters into weights, or hands them over for each task."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from base_repo import ALPHA, LINEARS, RANK, TASKS, adapter_names
from jina_vllm_integrations.preparation import prepare
from jina_vllm_integrations.preparation.tensor_files import StoredTensor, encode
from prepared import (
    ADAPTERS,
    LAYOUTS,
    ONE_ROUNDING,
    base_names,
    edit_json,
    expected_projectors,
    layer_weight,
    merge,
    names_in,
    rewrite,
    weights_of,
)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_one_task_is_merged_into_the_weights(base_repos, tmp_path, layout, task):
    """Each adapted weight is W + alpha / r * B @ A, rounded once; every other one is bit by bit the source's."""
    repo = base_repos(**layout)
    found = weights_of(prepare(repo, tmp_path / "out", task=task))
    expected, adapters = weights_of(repo), load_file(repo / ADAPTERS)
    adapted = {}
    for layer in range(2):
        for linear in LINEARS:
            name = layer_weight(expected, layer, linear)
            adapted[name] = merge(expected[name], adapters, adapter_names(layer, linear, task))
    expected |= adapted
    assert found.keys() == base_names(repo)
    for name, tensor in found.items():
        tolerance = ONE_ROUNDING[tensor.dtype] if name in adapted else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(tensor, expected[name], **tolerance)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("options", [{"task": "code"}, {"all_tasks": True}], ids=str)
def test_projectors_are_merged_in_float32(base_repos, tmp_path, layout, options):
    """Each task served has its head, in a file of its own that vLLM does not take for the model's weights."""
    repo = base_repos(**layout)
    found = load_file(prepare(repo, tmp_path / "out", **options) / "multi_vector" / "projectors.safetensors")
    tasks = TASKS if "all_tasks" in options else [options["task"]]
    torch.testing.assert_close(found, expected_projectors(repo, tasks))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_all_tasks_share_the_weights(base_repos, tmp_path, layout):
    """The base stays as it is; the projectors are merged; every PEFT directory gives its task's adapter back."""
    repo = base_repos(**layout)
    out = prepare(repo, tmp_path / "out", all_tasks=True)
    found, base, adapters = weights_of(out), weights_of(repo), load_file(repo / ADAPTERS)
    assert found.keys() == base_names(repo)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, base[name], rtol=0, atol=0)
    assert names_in(out / "adapters") == set(TASKS)
    for task in TASKS:
        suffix = f".{task}.weight"
        torch.testing.assert_close(
            load_file(out / "adapters" / task / "adapter_model.safetensors"),
            {
                name.replace(suffix, ".weight"): tensor
                for name, tensor in adapters.items()
                if name.endswith(suffix) and "projector" not in name
            },
            rtol=0,
            atol=0,
        )


def test_peft_directories_say_what_they_hold(repo, tmp_path):
    """Their configuration is PEFT's, with the rank and scale of the source and the linear layers by name."""
    out = prepare(repo, tmp_path / "out", all_tasks=True)
    config = json.loads((out / "adapters" / "code" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "FEATURE_EXTRACTION"
    assert (config["r"], config["lora_alpha"]) == (RANK, ALPHA)
    assert {f"self_attn.{name}" for name in config["target_modules"]} | {
        f"mlp.{name}" for name in config["target_modules"]
    } >= set(LINEARS)
    assert len(config["target_modules"]) == len(LINEARS)


def test_vllm_accepts_the_peft_directories(repo, tmp_path):
    """The reader of adapters in vLLM finds a legal configuration and a known module behind every name."""
    from vllm.lora.lora_model import LoRAModel
    from vllm.lora.peft_helper import PEFTHelper
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration as Model

    directory = str(prepare(repo, tmp_path / "out", all_tasks=True) / "adapters" / "retrieval")
    helper = PEFTHelper.from_local_dir(directory, max_position_embeddings=None)
    assert helper.vllm_lora_scaling_factor == ALPHA / RANK
    model = LoRAModel.from_local_checkpoint(
        directory,
        {linear.rpartition(".")[2] for linear in LINEARS},
        helper,
        device="cpu",
        weights_mapper=Model.hf_to_vllm_mapper,
    )
    assert set(model.loras) == {
        f"language_model.model.layers.{layer}.{linear}" for layer in range(2) for linear in LINEARS
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_transformers_finds_every_weight(base_repos, tmp_path, layout):
    """Names and shapes are those of Qwen2.5-VL, and nothing is left over but the projector."""
    out = prepare(base_repos(**layout), tmp_path / "out", task="code")
    _, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert not report["unexpected_keys"]


def test_weights_inside_another_class_are_found(own_repo, tmp_path):
    """A class around the model that puts its own prefix before every name changes nothing."""
    for file in own_repo.glob("*.safetensors"):
        rewrite(
            file, lambda tensors: [tensors.update({f"base_model.{name}": tensors.pop(name)}) for name in [*tensors]]
        )
    edit_json(
        own_repo / "model.safetensors.index.json",
        lambda index: index.update(
            weight_map={f"base_model.{name}": home for name, home in index["weight_map"].items()}
        ),
    )
    names = weights_of(prepare(own_repo, tmp_path / "out", task="code")).keys()
    assert all(name.startswith(("model.language_model.", "model.visual.")) for name in names)


def test_a_flat_config_will_do(own_repo, tmp_path):
    """Before transformers 5 the text model's sizes stood at the top level; they stay there."""
    edit_json(
        own_repo / "config.json", lambda config: config.update(config.pop("text_config"), model_type="qwen2_5_vl")
    )
    config = json.loads((prepare(own_repo, tmp_path / "out", task="code") / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert "text_config" not in config


def test_bfloat16_rounds_as_torch_does():
    """To nearest, and ties to even, from the smallest to the largest float."""
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (bits & 0xFFFF0000) | 0x8000
    values = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    values = values[np.isfinite(values)]
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy()
    np.testing.assert_array_equal(encode(values, "BF16").view(np.int16), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_stored_floats_are_read_exactly(tmp_path, dtype):
    """Every float type becomes the float32 of the same value, and its own bits again."""
    values = torch.randn(100).to(dtype)
    save_file({"values": values}, tmp_path / "values.safetensors")
    with safe_open(tmp_path / "values.safetensors", "pt") as file:
        name = file.get_slice("values").get_dtype()
    size = values.nbytes
    offset = (tmp_path / "values.safetensors").stat().st_size - size
    stored = StoredTensor(path=tmp_path / "values.safetensors", offset=offset, nbytes=size, dtype=name, shape=(100,))
    np.testing.assert_array_equal(stored.float32(), values.float().numpy())
    np.testing.assert_array_equal(encode(stored.float32(), name), stored.bits())
