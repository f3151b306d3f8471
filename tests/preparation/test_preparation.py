"""A base repository becomes a directory that vLLM serves, or an error that says what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from base_repo import ALPHA, LINEARS, RANK, TASKS, adapter_names, projector_names, write_base_repo
from jina_vllm_integrations.errors import CheckpointError, OptionError
from jina_vllm_integrations.model.checkpoints import Checkpoint
from jina_vllm_integrations.preparation import prepare, preparing
from jina_vllm_integrations.preparation.tensor_files import StoredTensor, encode

# One unit in the last place.
ONE_ROUNDING = {torch.float32: {"rtol": 2**-22, "atol": 1e-6}, torch.bfloat16: {"rtol": 2**-7, "atol": 0}}
ADAPTERS = "adapters/adapter_model.safetensors"
A_QUERY, B_QUERY = adapter_names(1, "self_attn.q_proj", "code")


@pytest.fixture(scope="session")
def base_repos(tmp_path_factory):
    """Return a maker of base repositories, each written once."""
    folder = tmp_path_factory.mktemp("base-repos")
    made = {}

    def make(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = write_base_repo(folder / f"base-{len(made)}", **options)
        return made[key]

    return make


@pytest.fixture
def repo(base_repos):
    """Return a base repository that a test only reads."""
    return base_repos()


@pytest.fixture
def own_repo(base_repos, tmp_path):
    """Return a copy of a base repository that a test may damage."""
    return shutil.copytree(base_repos(dtype="bfloat16", shards=2), tmp_path / "base")


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


@pytest.mark.parametrize(
    ("options", "tasks"), [({"task": "text-matching"}, ["text-matching"]), ({"all_tasks": True}, list(TASKS))]
)
def test_the_config_names_our_model_class_and_the_tasks(repo, tmp_path, options, tasks):
    """The sizes stay as they are; the code of the source is no longer referred to."""
    out = prepare(repo, tmp_path / "out", **options)
    source, config = (json.loads((directory / "config.json").read_text()) for directory in (repo, out))
    assert config["architectures"] == ["JinaEmbeddingsV4ForVLLM"]
    assert config["model_type"] == "qwen2_5_vl"
    assert config["matryoshka_dimensions"] == source["matryoshka_dims"] == [64, 128, 256]
    assert config["jina_tasks"] == tasks
    assert config["multi_vector_dim"] == 128
    for name in ("text_config", "vision_config", "image_token_id", "dtype"):
        assert config[name] == source[name]
    assert "auto_map" not in config
    assert Checkpoint.read(out).matryoshka_dimensions == (64, 128, 256)


def test_processor_and_tokenizer_come_along_without_code(repo, tmp_path):
    """What the engine reads is copied, never linked; Python files and references to them are not."""
    out = prepare(repo, tmp_path / "out", task="retrieval")
    assert names_in(out) == {
        "config.json",
        "generation_config.json",
        "manifest.json",
        "multi_vector",
        "model.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (out / "tokenizer.json").read_bytes() == (repo / "tokenizer.json").read_bytes()
    processor = json.loads((repo / "preprocessor_config.json").read_text())
    assert processor.pop("auto_map")
    assert json.loads((out / "preprocessor_config.json").read_text()) == processor
    assert all(path.stat().st_nlink == 1 and not path.is_symlink() for path in out.rglob("*") if path.is_file())


def test_the_manifest_says_what_it_was_made_of(repo, tmp_path):
    """Source, tasks, versions and a digest for every file read; no path of this machine."""
    manifest_file = prepare(repo, tmp_path / "out", task="code") / "manifest.json"
    manifest = json.loads(manifest_file.read_text())
    assert manifest["source"] == {"name": repo.name, "commit": None}
    assert manifest["tasks"] == ["code"]
    assert manifest["versions"].keys() == {"jina-vllm-integrations", "safetensors"}
    assert {"model.safetensors", ADAPTERS, "adapters/adapter_config.json"} <= manifest["sha256"].keys()
    assert manifest["sha256"][ADAPTERS] == hashlib.sha256((repo / ADAPTERS).read_bytes()).hexdigest()
    assert str(tmp_path) not in manifest_file.read_text()
    assert str(repo.parent) not in manifest_file.read_text()


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


def test_an_equal_second_run_does_nothing(repo, tmp_path, monkeypatch):
    """The same source and tasks leave the directory untouched, whatever the source is called."""
    out = prepare(repo, tmp_path / "out", task="code")
    before = state_of(out)
    monkeypatch.setattr(preparing, "write_tensors", lambda *_, **__: pytest.fail("written again"))
    assert prepare(shutil.copytree(repo, tmp_path / "elsewhere"), str(out), task="code") == out
    assert state_of(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda repo, out: {"task": "retrieval"}, "differs in tasks"),
        (lambda repo, out: {"all_tasks": True}, "differs in tasks"),
        (
            lambda repo, out: rewrite(repo / ADAPTERS, lambda tensors: tensors[A_QUERY].mul_(2)) or {"task": "code"},
            "differs in sha256",
        ),
        (lambda repo, out: (out / "manifest.json").unlink() or {"task": "code"}, "is not a prepared directory"),
        (lambda repo, out: (out / "tokenizer.json").unlink() or {"task": "code"}, "is damaged: tokenizer.json"),
        (
            lambda repo, out: os.truncate(out / "model-00002-of-00002.safetensors", 100) or {"task": "code"},
            "is damaged: model-00002-of-00002.safetensors",
        ),
    ],
)
def test_another_directory_in_place_is_left_alone(own_repo, tmp_path, change, message):
    """What differs from what would be made, or is not ours, is an error that says what to do."""
    out = prepare(own_repo, tmp_path / "out", task="code")
    options = change(own_repo, out)
    before = state_of(out)
    with pytest.raises(CheckpointError, match=message) as caught:
        prepare(own_repo, out, **options)
    assert "emove it" in str(caught.value)
    assert state_of(out) == before


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_nothing_else_in_place_is_replaced(repo, tmp_path, make):
    """Neither an empty directory, nor a file, nor a dangling link is ours to replace."""
    make(tmp_path / "out")
    with pytest.raises(CheckpointError, match="is not a prepared directory"):
        prepare(repo, tmp_path / "out", task="code")


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"])
def test_an_interrupted_run_leaves_nothing(own_repo, tmp_path, monkeypatch, error):
    """Half-made output goes with the run that was making it."""
    written = []

    def write(path, tensors, **options):
        written.append(path)
        path.touch()
        if len(written) == 2:
            raise error

    monkeypatch.setattr(preparing, "write_tensors", write)
    with pytest.raises(type(error)):
        prepare(own_repo, tmp_path / "folder" / "out", task="code")
    assert len(written) == 2
    assert names_in(tmp_path / "folder") == set()


def test_a_killed_run_is_made_good_by_the_next(repo, tmp_path):
    """A run that had no chance to clean up leaves no output, and the next one removes what it left."""
    script = (
        "import os, signal, sys\n"
        "from jina_vllm_integrations.preparation import preparing\n"
        "preparing._write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "preparing.prepare(sys.argv[1], sys.argv[2], task='code')\n"
    )
    out = tmp_path / "folder" / "out"
    assert subprocess.run([sys.executable, "-c", script, repo, out], check=False).returncode == -signal.SIGKILL
    assert names_in(out.parent) == {".out.unfinished", ".out.lock"}
    prepare(repo, out, task="code")
    assert names_in(out.parent) == {"out"}


def test_runs_at_once_make_one_directory(repo, tmp_path, monkeypatch):
    """The first makes it, the others wait and find it."""
    written = []
    write = preparing._write
    monkeypatch.setattr(preparing, "_write", lambda *args, **options: written.append(0) or write(*args, **options))
    with ThreadPoolExecutor(4) as pool:
        outs = list(pool.map(lambda _: prepare(repo, tmp_path / "folder" / "out", task="code"), range(4)))
    assert outs == [tmp_path / "folder" / "out"] * 4
    assert len(written) == 1
    assert names_in(tmp_path / "folder") == {"out"}


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


def test_a_bar_is_shown_on_demand(repo, tmp_path, capsys):
    """Nothing is said unless it was asked for."""
    prepare(repo, tmp_path / "quiet", task="code")
    assert capsys.readouterr() == ("", "")
    prepare(repo, tmp_path / "told", task="code", progress=True)
    assert "reading: 100%" in (told := capsys.readouterr().err)
    assert "writing: 100%" in told
