"""The pooler by itself, in situations that vLLM makes only on a GPU or under pressure."""

from __future__ import annotations

import itertools
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from vllm.v1.pool.metadata import PoolingStates

from jina_vllm_integrations.vllm_plugin.pooler import JinaPooler

HIDDEN, START, END = 8, 90, 91


@pytest.fixture
def projectors():
    """Return the heads of two tasks."""
    torch.manual_seed(0)
    return nn.ModuleDict({"retrieval": nn.Linear(HIDDEN, 4), "code": nn.Linear(HIDDEN, 4)})


@pytest.fixture
def pooler(projectors):
    """Return a pooler whose vectors leave together."""
    return JinaPooler(projectors, vision_start=START, vision_end=END, pickled=False)


def metadata(*requests):
    """Return vLLM's metadata of requests: state, options, token ids, tokens in this step, tokens seen after it."""
    states, options, ids, scheduled, seen = zip(*requests, strict=True)
    cursor = SimpleNamespace(num_scheduled_tokens_cpu=torch.tensor(scheduled), seq_lens_cpu=torch.tensor(seen))
    return SimpleNamespace(
        prompt_lens=torch.tensor([len(row) for row in ids]),
        pooling_states=states,
        pooling_params=[SimpleNamespace(extra_kwargs=each, late_interaction_params=None) for each in options],
        get_pooling_cursor=lambda: cursor,
        prompt_token_ids_cpu=pad_sequence([torch.tensor(row) for row in ids], batch_first=True),
    )


def pooled(pooler, states, *requests):
    """Pool one step."""
    with torch.inference_mode():
        return pooler(states, metadata(*requests))


@pytest.mark.parametrize("ids", [[0, 0, 0], [0]])
def test_the_warm_up_of_a_checkpoint_without_a_head(ids):
    """VLLM warms up on a GPU without options and with zeros for token ids, sometimes too few of them."""
    pooler = JinaPooler(nn.ModuleDict(), vision_start=START, vision_end=END, pickled=False)
    (vector,) = pooled(pooler, torch.ones(len(ids), HIDDEN), (PoolingStates(), None, ids, len(ids), len(ids)))
    assert vector.shape == (HIDDEN,)


def test_a_preempted_prompt_starts_again(pooler):
    """Chunks of before a preemption do not count twice."""
    states, ids, options = torch.randn(6, HIDDEN), [1, 2, 3, 4, 5, 6], {"output": "dense"}
    (expected,) = pooled(pooler, states, (PoolingStates(), options, ids, 6, 6))
    state = PoolingStates()
    assert pooled(pooler, states[:4], (state, options, ids, 4, 4)) == [None]
    (again,) = pooled(pooler, states, (state, options, ids, 6, 6))
    torch.testing.assert_close(again, expected)


def test_chunks_of_several_prompts_are_kept_apart(pooler):
    """Two prompts whose chunks share steps come out as they would alone, whatever becomes of the step's buffer."""
    states, ids = torch.randn(2, 6, HIDDEN), [1, START, 3, 4, END, 6]
    options = [{"output": "dense", "dimensions": 4}, {"output": "both", "task": "code"}]
    alone = [pooled(pooler, states[row], (PoolingStates(), options[row], ids, 6, 6))[0] for row in range(2)]
    kept = [PoolingStates(), PoolingStates()]
    buffer = torch.cat([states[0, :4], states[1, :2]])
    first = pooled(pooler, buffer, (kept[0], options[0], ids, 4, 4), (kept[1], options[1], ids, 2, 2))
    assert first == [None, None]
    buffer.zero_()
    buffer[:] = torch.cat([states[0, 4:], states[1, 2:]])
    last = pooled(pooler, buffer, (kept[0], options[0], ids, 2, 6), (kept[1], options[1], ids, 4, 6))
    buffer.zero_()
    torch.testing.assert_close(last, alone)
    assert not any(state.hidden_states_cache for state in kept)


@pytest.mark.parametrize("shift", range(3))
def test_a_mixed_batch_gives_each_request_what_it_gets_alone(pooler, shift):
    """Dense vectors are scaled together; outputs, sizes and dtypes still come out each in its place."""
    options = [
        {"output": output, "dimensions": dimensions, "wire_dtype": dtype, "task": task}
        for output, dimensions, (dtype, task) in itertools.product(
            ("dense", "tokens", "both"), (None, 4, 2), (("float32", "retrieval"), ("float16", "code"))
        )
    ]
    options = options[shift::3] + options[:shift] * 2
    ids = [[1] * (n % 4 + 1) + ([START, 3, 3, END, 5] if n % 2 else []) for n in range(len(options))]
    states = [torch.randn(len(row), HIDDEN) for row in ids]
    requests = [(each, row, len(row), len(row)) for each, row in zip(options, ids, strict=True)]
    together = pooled(pooler, torch.cat(states), *((PoolingStates(), *request) for request in requests))
    for asked, found, rows, request in zip(options, together, states, requests, strict=True):
        (alone,) = pooled(pooler, rows, (PoolingStates(), *request))
        half = asked["wire_dtype"] == "float16"
        assert found.dtype == alone.dtype == (torch.float16 if half else torch.float32)
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-3 if half else 1e-6)


@pytest.mark.parametrize("output", ["dense", "tokens", "both"])
def test_what_is_pickled_shares_no_memory(projectors, output):
    """Where vLLM's worker pickles its answers, each weighs what it holds, not what it was a part of."""
    pooler = JinaPooler(projectors, vision_start=START, vision_end=END, pickled=True)
    requests = [(PoolingStates(), {"output": output}, [1] * 64, 64, 64)] * 50
    found = pooled(pooler, torch.randn(50 * 64, HIDDEN), *requests)
    assert max(len(pickle.dumps(each)) - each.nbytes for each in found) < 1000


def prompt_of(length, span):
    """Return token ids, with an image in the span unless that is all."""
    ids = [1] * length
    if span != (0, length):
        ids[span[0]], ids[span[1] - 1] = START, END
    return ids


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_means_of_many_prompts_are_those_of_each(pooler, dtype):
    """Prompts of one token and of thousands, with an image and without, in one batch: the means in float64."""
    lengths = [1, 63, 64, 65, 2, 128, 3000, 129]
    spans = [(length // 3, length - length // 4) if length > 64 else (0, length) for length in lengths]
    states = [torch.randn(length, HIDDEN).to(dtype) for length in lengths]
    ids = [prompt_of(length, span) for length, span in zip(lengths, spans, strict=True)]
    requests = [(PoolingStates(), {"output": "dense"}, row, len(row), len(row)) for row in ids]
    found = pooled(pooler, torch.cat(states), *requests)
    for vector, rows, span in zip(found, states, spans, strict=True):
        expected = nn.functional.normalize(rows[slice(*span)].double().mean(dim=0), dim=0)
        torch.testing.assert_close(vector.double(), expected, rtol=0, atol=1e-6)
