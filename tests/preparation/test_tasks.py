"""From the base repository to vectors: each task merged, all tasks by LoRA, checkpoints without a multi-vector head."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from base_repo import ALPHA, LINEARS, RANK, TASKS, adapter_names, projector_names, write_base_repo
from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import CheckpointError, InProcessEngine, JinaEncoder, OptionError, prepare
from reference import IMAGE_HEAD, IMAGE_TAIL, Reference, dense, tokens

MERGED, LORA = 1e-5, 1e-4
PICTURE = Image.effect_noise((200, 120), 60).convert("RGB")
# Text matching has one prefix for both roles.
PREFIX = {"retrieval": "Passage", "text-matching": "Query", "code": "Passage"}


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Return a base repository."""
    return write_base_repo(tmp_path_factory.mktemp("base") / "repo")


def merged(weight, adapters, names):
    """Return W + alpha / r * B @ A."""
    down, up = (adapters[name] for name in names)
    return weight + ALPHA / RANK * (up @ down)


@pytest.fixture(scope="module")
def expected(repo, checkpoint, tmp_path_factory):
    """Return each task's dense and token vectors of a text and a picture, by transformers and plain arithmetic."""
    base = load_file(repo / "model.safetensors")
    adapters = load_file(repo / "adapters" / "adapter_model.safetensors")
    vectors = {}
    for task in TASKS:
        weights = {name: weight.clone() for name, weight in base.items() if "projector" not in name}
        for layer in range(2):
            for linear in LINEARS:
                name = f"model.language_model.layers.{layer}.{linear}.weight"
                weights[name] = merged(base[name], adapters, adapter_names(layer, linear, task))
        directory = tmp_path_factory.mktemp("merged") / task
        shutil.copytree(checkpoint, directory)
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        head = (
            merged(base["multi_vector_projector.weight"], adapters, projector_names(task)),
            base["multi_vector_projector.bias"],
        )
        reference = Reference(directory)
        text = reference.text_states(f"{PREFIX[task]}: Guten Tag")
        picture, _ = reference.image_states(PICTURE)
        before = len(reference.tokenizer(IMAGE_HEAD)["input_ids"]) - 1
        after = len(reference.tokenizer(IMAGE_TAIL)["input_ids"]) - 1
        vectors[task] = {
            "dense": [dense(text), dense(picture[before:-after])],
            "tokens": [tokens(text, *head), tokens(picture, *head)],
        }
    return vectors


def distance(ours, theirs):
    """Return the relative L2 distance of two arrays."""
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def check(encoder, expected, tolerance):
    """Compare a text and a picture, dense and token vectors."""
    vectors, token_vectors = encoder.embed_both(["Guten Tag", PICTURE], role="document")
    for ours, theirs in zip(vectors, expected["dense"], strict=True):
        assert distance(ours, theirs) < tolerance
    for ours, theirs in zip(token_vectors, expected["tokens"], strict=True):
        assert distance(ours.vectors, theirs) < tolerance


def test_tasks_differ(expected):
    """The adapters matter: no two tasks have the same vectors, so that mistaking one for another would show."""
    for one, other in (("retrieval", "code"), ("code", "text-matching"), ("text-matching", "retrieval")):
        for kind in ("dense", "tokens"):
            for ours, theirs in zip(expected[one][kind], expected[other][kind], strict=True):
                assert ours.shape != theirs.shape or distance(ours, theirs) > 0.01


def test_a_merged_task_equals_the_reference(repo, expected, tmp_path):
    """A checkpoint of one task gives that task's vectors, with a head from elsewhere, too, and refuses the others.

    What is written for the other tasks, `test_preparation` compares weight by weight.
    """
    task = "text-matching"
    out = prepare(repo, tmp_path / "out", task=task)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / "multi_vector").rename(elsewhere / "multi_vector")
    with InProcessEngine(out, projector=elsewhere, **ENGINE_OPTIONS) as engine:
        check(JinaEncoder(engine, task=task), expected[task], MERGED)
        (other, *_) = set(TASKS) - {task}
        with pytest.raises(OptionError, match=f"the checkpoint serves the task '{task}', got '{other}'"):
            JinaEncoder(engine, task=other)


@pytest.fixture(scope="module")
def lora_engine(repo, tmp_path_factory):
    """Return an engine of all tasks."""
    out = prepare(repo, tmp_path_factory.mktemp("all") / "out", all_tasks=True)
    with InProcessEngine(out, **ENGINE_OPTIONS) as engine:
        yield engine


@pytest.mark.parametrize("task", TASKS)
def test_a_lora_task_equals_the_reference(lora_engine, expected, task):
    """On a checkpoint of all tasks the encoder's task picks the adapter and the head."""
    check(JinaEncoder(lora_engine, task=task), expected[task], LORA)


def test_three_tasks_share_one_engine_and_its_batches(lora_engine, expected):
    """Encoders of three tasks at once, text and image mixed, each get their own task's vectors."""
    items = ["Guten Tag", PICTURE] * 20

    def embed(task):
        return JinaEncoder(lora_engine, task=task).embed(items, role="document")

    with ThreadPoolExecutor(3) as pool:
        for task, vectors in zip(TASKS, pool.map(embed, TASKS), strict=True):
            for row, ours in enumerate(vectors):
                assert distance(ours, expected[task]["dense"][row % 2]) < LORA


@pytest.fixture(scope="module")
def headless(checkpoint, tmp_path_factory):
    """Return a checkpoint as ``jinaai/jina-embeddings-v4-vllm-*`` are: plain Qwen2.5-VL without a multi-vector head."""
    directory = tmp_path_factory.mktemp("headless") / "checkpoint"
    shutil.copytree(checkpoint, directory)
    shutil.rmtree(directory / "multi_vector")
    config = (directory / "config.json").read_text()
    (directory / "config.json").write_text(
        config.replace("JinaEmbeddingsV4ForVLLM", "Qwen2_5_VLForConditionalGeneration").replace("jina_tasks", "unread")
    )
    return directory


@pytest.mark.parametrize("pooling", ["engine", "client"])
def test_token_vectors_of_a_checkpoint_without_a_head(headless, pooling):
    """The error says which command makes a checkpoint that can, before anything starts."""
    with InProcessEngine(headless, pooling=pooling, **ENGINE_OPTIONS) as engine:
        encoder = JinaEncoder(engine, task="code")
        for call in (encoder.embed_tokens, encoder.embed_both, encoder.stream_tokens):
            with pytest.raises(
                CheckpointError, match=r"jina-vllm prepare jinaai/jina-embeddings-v4 OUT --task code.*projector=PATH"
            ):
                call(["Guten Tag"], role="document")


def test_a_checkpoint_without_a_head_serves_dense_vectors_as_it_is(headless, vllm_engine):
    """The published checkpoints need no preparation for dense vectors."""
    with InProcessEngine(headless, **ENGINE_OPTIONS) as engine:
        ours = JinaEncoder(engine, task="retrieval").embed(["Guten Tag", PICTURE], role="document")
    theirs = JinaEncoder(vllm_engine, task="retrieval").embed(["Guten Tag", PICTURE], role="document")
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_head_does_not_widen_the_tasks(repo, headless, tmp_path):
    """A checkpoint of one task stays one of that task; a head of one task leaves dense vectors of others alone."""
    code, text_matching = (prepare(repo, tmp_path / task, task=task) for task in ("code", "text-matching"))
    every = prepare(repo, tmp_path / "all", all_tasks=True)
    with pytest.raises(OptionError, match="the checkpoint serves the task 'code', got 'retrieval'"):
        JinaEncoder(InProcessEngine(code, projector=every), task="retrieval")
    with pytest.raises(CheckpointError, match=r"serves code, and .* lacks the head of code"):
        JinaEncoder(InProcessEngine(code, projector=text_matching), task="code")
    encoder = JinaEncoder(InProcessEngine(headless, projector=code, load_format="dummy"), task="retrieval")
    with pytest.raises(CheckpointError, match="has the multi-vector head of code, not of retrieval"):
        encoder.embed_tokens(["Guten Tag"], role="document")


def test_a_head_that_does_not_fit(headless, tmp_path):
    """A head of another model is refused, and a path without one as well."""
    save_file({"code.weight": torch.zeros(128, 64), "code.bias": torch.zeros(128)}, tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="projectors must map 256 values"):
        JinaEncoder(InProcessEngine(headless, projector=tmp_path / "small.safetensors"), task="code")
    with pytest.raises(CheckpointError, match="has no multi-vector projectors"):
        JinaEncoder(InProcessEngine(headless, projector=headless), task="code")
