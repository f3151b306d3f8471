"""Our pooling inside a vLLM that somebody else runs: vLLM's own calls, prefix caching, mixed batches."""

from __future__ import annotations

import pickle
from importlib.metadata import entry_points
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import InProcessEngine, JinaEncoder, vllm_plugin

IMAGE_PROMPT = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
LONG = "Passage: " + "Ein langer Satz über Züge. " * 30


@pytest.fixture(scope="module")
def llm(checkpoint):
    """Return vLLM's offline engine on the checkpoint as it is: only the plugin is ours. Prefix caching is on."""
    from vllm import LLM
    from vllm.config import PoolerConfig

    # In a process of its own: for CPUs, vLLM 0.32 looks at all modules and trips over llvmlite, which scoring loads.
    # Told so where it starts its engine only: by the environment, its worker would get a third process.
    with mock.patch("vllm.envs.VLLM_ENABLE_V1_MULTIPROCESSING", True):  # noqa: FBT003 - the value
        llm = LLM(
            str(checkpoint),
            runner="pooling",
            pooler_config=PoolerConfig(task="token_embed"),
            enable_prefix_caching=True,
            disable_log_stats=True,
            **ENGINE_OPTIONS,
        )
    yield llm
    llm.llm_engine.engine_core.shutdown()


@pytest.fixture
def encoder(vllm_engine):
    """Return our encoder, for comparison."""
    return JinaEncoder(vllm_engine, task="retrieval")


def encode(llm, prompts, *options):
    """Return what vLLM answers to prompts, each with its own options for our pooler."""
    from vllm import PoolingParams

    parameters = [PoolingParams(task="token_embed", extra_kwargs=each) for each in options]
    outputs = llm.encode(prompts, parameters, pooling_task="token_embed", use_tqdm=False)
    return [output.outputs.data for output in outputs]


def test_registration_is_an_entry_point_and_may_be_repeated():
    """VLLM finds the plugin by its entry point and calls it in every process, as often as it likes."""
    from vllm import ModelRegistry

    (point,) = entry_points(group="vllm.general_plugins", name="jina_embeddings_v4")
    register = point.load()
    register()
    register()
    assert vllm_plugin.ARCHITECTURE in ModelRegistry.get_supported_archs()
    assert pickle.loads(pickle.dumps(register)) is vllm_plugin.register  # noqa: S301 - our own bytes


def test_without_options_the_answer_is_token_vectors(llm, encoder):
    """VLLM's own clients, which know nothing of our options, get what late interaction needs."""
    (vectors,) = encode(llm, ["Passage: Guten Tag"], None)
    (expected,) = encoder.embed_tokens(["Guten Tag"], role="document")
    assert vectors.dtype == torch.float32
    np.testing.assert_allclose(vectors, expected.vectors, atol=1e-5)


def test_a_page_and_a_text_in_one_batch_ask_for_different_outputs(llm, encoder):
    """Each request gets what it asked for, at its own size and in its own dtype."""
    picture = Image.effect_noise((200, 120), 60).convert("RGB")
    page = {"prompt": IMAGE_PROMPT, "multi_modal_data": {"image": picture}}
    short, tokens, dense = encode(
        llm,
        [page, "Passage: Guten Tag", page],
        {"output": "dense", "dimensions": 64},
        {"output": "tokens", "task": "code", "wire_dtype": "float16"},
        {"output": "dense"},
    )
    expected = encoder.embed([picture], role="document")[0]
    np.testing.assert_allclose(dense, expected, atol=1e-5)
    np.testing.assert_allclose(short, expected[:64] / np.linalg.norm(expected[:64]), atol=1e-5)
    (code,) = JinaEncoder(encoder.engine, task="code").embed_tokens(["Guten Tag"], role="document")
    assert tokens.dtype == torch.float16
    np.testing.assert_allclose(tokens.float(), code.vectors, atol=1e-3)


def test_both_is_the_dense_vector_before_the_token_vectors(llm):
    """One row holds both; a chunked prompt is put together first."""
    both, dense, tokens = encode(llm, [LONG] * 3, {"output": "both"}, {"output": "dense"}, {"output": "tokens"})
    torch.testing.assert_close(both[:256], dense)
    torch.testing.assert_close(both[256:].reshape(tokens.shape), tokens)


def test_prefix_caching_changes_nothing(llm):
    """The same prompt again has its blocks in the cache, and still every token counts."""
    first = encode(llm, [LONG], {"output": "dense"})
    again = encode(llm, [LONG], {"output": "dense"})
    torch.testing.assert_close(first, again)
    assert len(encode(llm, [LONG], None)[0]) == len(LONG.encode())


def maxsim(query, document):
    """Return the late-interaction score, written plainly."""
    return sum(max(float(token @ other) for other in document) for token in query)


def test_vllms_own_score_is_maxsim_of_our_vectors(llm):
    """LLM.score takes the checkpoint for a late-interaction model and scores with its token vectors."""
    query, documents = "Query: Zug", ["Passage: Der Zug fährt", "Passage: Suppe"]
    scores = [output.outputs.score for output in llm.score([query] * 2, documents, use_tqdm=False)]
    vectors = encode(llm, [query, *documents], None, None, None)
    expected = [maxsim(vectors[0], document) for document in vectors[1:]]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_late_interaction_in_vllms_worker(llm):
    """Where vLLM's server scores inside the worker, the scores are those of our vectors, too."""
    from vllm import PoolingParams
    from vllm.v1.pool.late_interaction import build_late_interaction_doc_params, build_late_interaction_query_params

    query, document = "Query: Zug", "Passage: Der Zug fährt"
    parameters = [
        PoolingParams(
            task="token_embed", late_interaction_params=build_late_interaction_query_params(query_key="q", query_uses=1)
        ),
        PoolingParams(task="token_embed", late_interaction_params=build_late_interaction_doc_params(query_key="q")),
    ]
    outputs = llm.encode([query, document], parameters, pooling_task="token_embed", use_tqdm=False)
    vectors = encode(llm, [query, document], None, None)
    assert float(outputs[1].outputs.data) == pytest.approx(maxsim(*vectors), rel=1e-4)


def test_pooling_in_vllm_and_by_the_client_is_the_same(vllm_engine, client_engine):
    """Where pooling runs is a detail: the vectors agree to 1e-6, short and chunked, text and image."""
    items = ["kurz", "x" * 1500, Image.effect_noise((300, 200), 60).convert("RGB")]
    inside, outside = (JinaEncoder(engine, task="code", dimensions=128) for engine in (vllm_engine, client_engine))
    np.testing.assert_allclose(
        inside.embed(items, role="document"), outside.embed(items, role="document"), rtol=0, atol=1e-6
    )
    for ours, theirs in zip(
        inside.embed_tokens(items, role="document"), outside.embed_tokens(items, role="document"), strict=True
    ):
        np.testing.assert_allclose(ours.vectors, theirs.vectors, rtol=0, atol=1e-6)


def test_float16_on_the_wire(vllm_engine, checkpoint):
    """Half the bytes from vLLM's process keep three digits; records stay float32."""
    items = ["kurz", Image.effect_noise((300, 200), 60).convert("RGB")]
    with InProcessEngine(checkpoint, wire_dtype="float16", **ENGINE_OPTIONS) as engine:
        half = JinaEncoder(engine, task="retrieval")
        full = JinaEncoder(vllm_engine, task="retrieval")
        dense, tokens = half.embed_both(items, role="document")
        assert dense.dtype == tokens[0].vectors.dtype == np.float32
        np.testing.assert_allclose(dense, full.embed(items, role="document"), atol=1e-3)
        assert np.abs(dense - full.embed(items, role="document")).max() > 0
        for ours, theirs in zip(tokens, full.embed_tokens(items, role="document"), strict=True):
            np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-3)
