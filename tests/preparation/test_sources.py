"""What is prepared: a directory or a repository of the hub, and what is wrong with it."""

from __future__ import annotations

import json
import os
import shutil

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

from jina_vllm_integrations.errors import CheckpointError, OptionError
from jina_vllm_integrations.preparation import prepare
from prepared import A_QUERY, ADAPTERS, B_QUERY, edit_json, names_in, rewrite, weights_of


def in_weights(change):
    """Return a change to the file that holds the tensor at hand, and to the index."""

    def damage(repo):
        for file in repo.glob("*.safetensors"):
            rewrite(file, change)
        homes = {}
        for file in repo.glob("*.safetensors"):
            homes |= dict.fromkeys(load_file(file), file.name)
        edit_json(repo / "model.safetensors.index.json", lambda index: index.update(weight_map=homes))

    return damage


def in_adapters(change):
    """Return a change to the adapters' file."""
    return lambda repo: rewrite(repo / ADAPTERS, change)


def in_json(name, change):
    """Return a change to a JSON file."""
    return lambda repo: edit_json(repo / name, change)


QUERY = "model.language_model.layers.1.self_attn.q_proj.weight"

DAMAGES = {
    "base without a layer's weight": (
        in_weights(lambda tensors: tensors.pop(QUERY, None)),
        [f"{QUERY} is missing", A_QUERY],
    ),
    "base without projector": (
        in_weights(
            lambda tensors: [tensors.pop(f"multi_vector_projector.{part}", None) for part in ("weight", "bias")]
        ),
        ["multi_vector_projector.weight is missing", "multi_vector_projector.bias is missing"],
    ),
    "projector of another size": (
        in_weights(
            lambda tensors: (
                "multi_vector_projector.weight" in tensors
                and tensors.update({"multi_vector_projector.weight": torch.zeros(128, 512)})
            )
        ),
        [r"multi_vector_projector.weight has the shape \(128, 512\), not \(128, 256\)"],
    ),
    "bias of another size": (
        in_weights(
            lambda tensors: (
                "multi_vector_projector.bias" in tensors
                and tensors.update({"multi_vector_projector.bias": torch.zeros(64)})
            )
        ),
        [r"multi_vector_projector.bias has the shape \(64,\), not \(128,\)"],
    ),
    "a weight that is no matrix": (
        in_weights(lambda tensors: QUERY in tensors and tensors.update({QUERY: torch.zeros(3)})),
        [rf"{QUERY} has the shape \(3,\), which is no matrix"],
    ),
    "a quantised weight": (
        in_weights(lambda tensors: QUERY in tensors and tensors.update({QUERY: tensors[QUERY].to(torch.int8)})),
        [f"{QUERY} is stored as I8, not as one of F32, F16, BF16"],
    ),
    "an unknown weight": (
        in_weights(lambda tensors: tensors.update(single_vector_projector=torch.zeros(1))),
        [
            "single_vector_projector is in model-00001-of-00002.safetensors and in",
            "single_vector_projector is unexpected",
        ],
    ),
    "a layer more in the config": (
        in_json("config.json", lambda config: config["text_config"].update(num_hidden_layers=3)),
        ["layers.2.self_attn.q_proj.weight is missing"],
    ),
    "an index of another layout": (
        in_json(
            "model.safetensors.index.json",
            lambda index: index["weight_map"].update({"model.more": index["weight_map"].pop(QUERY)}),
        ),
        [
            "model.more is not in model-0000.-of-00002.safetensors, as the index says",
            f"{QUERY} is in model-0000.-of-00002.safetensors, as no index says",
        ],
    ),
    "A without B": (in_adapters(lambda tensors: tensors.pop(B_QUERY)), [f"{B_QUERY} is missing"]),
    "B without A": (in_adapters(lambda tensors: tensors.pop(A_QUERY)), [f"{A_QUERY} is missing"]),
    "an unknown task": (
        in_adapters(lambda tensors: tensors.update({A_QUERY.replace("code", "clustering"): torch.zeros(4, 256)})),
        [r"q_proj.lora_A.clustering.weight belongs to no weight and task"],
    ),
    "an adapter of the vision encoder": (
        in_adapters(
            lambda tensors: tensors.update(
                {"base_model.model.model.visual.blocks.0.attn.qkv.lora_A.code.weight": torch.zeros(4, 64)}
            )
        ),
        ["model.visual.blocks.0.attn.qkv.lora_A.code.weight belongs to no weight and task"],
    ),
    "an adapter without its layer": (
        in_adapters(lambda tensors: tensors.update({A_QUERY.replace("layers.1", "layers.2"): torch.zeros(4, 256)})),
        [r"layers.2.self_attn.q_proj.lora_A.code.weight belongs to no weight and task"],
    ),
    "an adapter of another rank": (
        in_adapters(lambda tensors: tensors.update({A_QUERY: torch.zeros(8, 256)})),
        [rf"{A_QUERY} has the shape \(8, 256\), not \(4, 256\)"],
    ),
    "another rank in the config": (
        in_json("adapters/adapter_config.json", lambda config: config.update(r=8)),
        [r"has the shape \(4, 256\), not \(8, 256\)", "and 70 more"],
    ),
    "integers for an adapter": (
        in_adapters(lambda tensors: tensors.update({A_QUERY: tensors[A_QUERY].to(torch.int32)})),
        [f"{A_QUERY} is stored as I32"],
    ),
    "no rank": (
        in_json("adapters/adapter_config.json", lambda config: config.pop("r")),
        ["'lora_alpha', .* has r=None"],
    ),
    "other arithmetic": (
        in_json(
            "adapters/adapter_config.json", lambda config: config.update(use_dora=True, rank_pattern={"q_proj": 8})
        ),
        ["plain LoRA, .* sets rank_pattern, use_dora"],
    ),
    "no layer count": (
        in_json("config.json", lambda config: config["text_config"].pop("num_hidden_layers")),
        ["config.json lacks 'num_hidden_layers'"],
    ),
    "a shard less": (
        lambda repo: (repo / "model-00002-of-00002.safetensors").unlink(),
        ["lacks model-00002-of-00002.safetensors"],
    ),
    "a shard elsewhere": (
        in_json(
            "model.safetensors.index.json", lambda index: index["weight_map"].update({QUERY: "../model.safetensors"})
        ),
        ["lacks ../model.safetensors"],
    ),
    "no weights": (
        lambda repo: [file.unlink() for file in repo.glob("model*")],
        ["lacks model.safetensors. Fetch"],
    ),
    "no adapters": (
        lambda repo: shutil.rmtree(repo / "adapters"),
        ["lacks adapters/adapter_config.json, adapters/adapter_model.safetensors"],
    ),
    "a shard cut short": (
        lambda repo: os.truncate(repo / "model-00002-of-00002.safetensors", 100_000),
        ["model-00002-of-00002.safetensors' is damaged"],
    ),
    "no processor": (lambda repo: (repo / "preprocessor_config.json").unlink(), ["lacks preprocessor_config.json"]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_source_is_refused(own_repo, tmp_path, name):
    """One error names everything that is missing, unexpected or of the wrong shape, and nothing is made."""
    damage, messages = DAMAGES[name]
    damage(own_repo)
    for options in ({"task": "code"}, {"all_tasks": True}):
        with pytest.raises(CheckpointError) as caught:
            prepare(own_repo, tmp_path / "folder" / "out", **options)
        for message in messages:
            assert caught.match(message)
        assert not (tmp_path / "folder").exists()


def test_what_is_not_finite_is_not_merged(own_repo, tmp_path):
    """A weight that training has ruined is an error, not rounded to something else."""
    in_adapters(lambda tensors: tensors[A_QUERY].view(-1)[7:8].fill_(torch.nan))(own_repo)
    with pytest.raises(CheckpointError, match="is not finite"):
        prepare(own_repo, tmp_path / "folder" / "out", task="code")
    assert names_in(tmp_path / "folder") == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of task and all_tasks must be given"),
        ({"task": "code", "all_tasks": True}, "one of task and all_tasks must be given"),
        ({"task": "clustering"}, "task must be one of retrieval, text-matching, code, got 'clustering'"),
        ({"task": "code", "revision": "main"}, "Leave revision out"),
    ],
)
def test_unclear_options_are_refused(repo, tmp_path, options, message):
    """What to prepare is said once, and about what is there."""
    with pytest.raises(OptionError, match=message):
        prepare(repo, tmp_path / "out", **options)


def test_a_hub_id_is_fetched_at_its_commit(repo, tmp_path, monkeypatch):
    """Only what is needed is asked for, links of the hub's cache are followed, and the manifest knows the commit."""
    snapshot = tmp_path / "cache" / "0123456789abcdef"
    for file in (path for path in repo.rglob("*") if path.is_file()):
        link = snapshot / file.relative_to(repo)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    asked = {}

    def download(model, **options):
        asked.update(options, model=model)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    out = prepare("jinaai/jina-embeddings-v4", tmp_path / "out", task="code", revision="main")
    assert (asked["model"], asked["revision"]) == ("jinaai/jina-embeddings-v4", "main")
    assert not any(pattern.endswith((".py", ".md")) or pattern == "*" for pattern in asked["allow_patterns"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["source"] == {"name": "jinaai/jina-embeddings-v4", "commit": "0123456789abcdef"}
    assert not any(path.is_symlink() for path in out.rglob("*") if path.is_file())
    assert weights_of(out).keys() == weights_of(prepare(repo, tmp_path / "direct", task="code")).keys()


@pytest.mark.parametrize(
    ("src", "message"),
    [
        ("nobody/nothing", "could not be fetched from the hub"),
        ("a/b/c", "which is neither"),
        (__file__, "which is neither"),
    ],
)
def test_a_source_that_is_not_there_is_refused(tmp_path, src, message):
    """Neither a directory nor reachable on the hub."""
    with pytest.raises(CheckpointError, match=message):
        prepare(src, tmp_path / "out", task="code")
