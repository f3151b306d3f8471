"""The plugin's changes to vLLM's Qwen2.5-VL by themselves: padded weights, and pixels that the model normalises."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import linear, silu
from transformers import Qwen2VLImageProcessor

from jina_vllm_integrations.model.files import read_json
from jina_vllm_integrations.vllm_plugin.padding import padded_weights, padded_width
from jina_vllm_integrations.vllm_plugin.pixels import PixelScale, takes_raw_pixels

MLP = "visual.blocks.3.mlp"


def mlp_weights(width, *, size=8, dtype=torch.float64):
    """Return the tensors of a vision MLP by name."""
    generator = torch.Generator().manual_seed(width)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    return {
        f"{MLP}.gate_proj.weight": draw(width, size),
        f"{MLP}.gate_proj.bias": draw(width),
        f"{MLP}.up_proj.weight": draw(width, size),
        f"{MLP}.up_proj.bias": draw(width),
        f"{MLP}.down_proj.weight": draw(size, width),
        f"{MLP}.down_proj.bias": draw(size),
    }


def mlp(weights, states):
    """Compute the MLP, written plainly."""

    def project(name, inputs):
        return linear(inputs, weights[f"{MLP}.{name}.weight"], weights[f"{MLP}.{name}.bias"])

    return project("down_proj", silu(project("gate_proj", states)) * project("up_proj", states))


@pytest.mark.parametrize(("width", "padded"), [(1, 64), (63, 64), (64, 64), (65, 128), (3420, 3456), (3456, 3456)])
def test_widths_are_multiples_of_64(width, padded):
    """The real model's 3420 becomes 3456; what is a multiple stays."""
    assert padded_width(width) == padded


def test_the_padding_is_zeros_behind_the_weights():
    """Rows of gate and up and their biases, and columns of down, at the real model's width."""
    weights = mlp_weights(3420)
    padded = dict(padded_weights(weights.items()))
    assert list(padded) == list(weights)
    for projection in ("gate_proj", "up_proj"):
        for kind in ("weight", "bias"):
            found, stored = padded[f"{MLP}.{projection}.{kind}"], weights[f"{MLP}.{projection}.{kind}"]
            assert found.shape == (3456, *stored.shape[1:])
            assert torch.equal(found[:3420], stored)
            assert not found[3420:].any()
    found, stored = padded[f"{MLP}.down_proj.weight"], weights[f"{MLP}.down_proj.weight"]
    assert found.shape == (8, 3456)
    assert torch.equal(found[:, :3420], stored)
    assert not found[:, 3420:].any()
    assert padded[f"{MLP}.down_proj.bias"] is weights[f"{MLP}.down_proj.bias"]


@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_names_may_have_a_prefix(prefix):
    """Checkpoints name the vision encoder with and without what is around it."""
    ((name, padded),) = padded_weights([(f"{prefix}{MLP}.up_proj.weight", torch.ones(100, 4))])
    assert name == f"{prefix}{MLP}.up_proj.weight"
    assert padded.shape == (128, 4)


@pytest.mark.parametrize(
    "name",
    [
        "visual.blocks.0.attn.qkv.weight",
        "visual.blocks.0.norm1.weight",
        "visual.merger.mlp.0.weight",
        "visual.blocks.0.mlp.gate_proj.weight_scale",
        "language_model.model.layers.0.mlp.gate_proj.weight",
    ],
)
def test_every_other_tensor_is_the_same_object(name):
    """Only the vision encoder's MLP is padded."""
    tensor = torch.ones(100, 4)
    ((found_name, found),) = padded_weights([(name, tensor)])
    assert found_name == name
    assert found is tensor


@given(width=st.integers(1, 300))
def test_a_padded_mlp_computes_the_same(width):
    """What was added adds nothing, whatever the width."""
    weights = mlp_weights(width)
    states = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = mlp(weights, states)
    # A longer sum may be added up in another order.
    tolerance = 1e-15 * (1 + float(expected.abs().max())) * width
    torch.testing.assert_close(mlp(dict(padded_weights(weights.items())), states), expected, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def processor_config(checkpoint):
    """Return the image processor's settings."""
    return read_json(checkpoint / "preprocessor_config.json")


@pytest.fixture(scope="module")
def patches(checkpoint):
    """Return a picture's patches as levels from 0 to 255, and as transformers normalises them."""
    processor = Qwen2VLImageProcessor.from_pretrained(checkpoint)
    picture = Image.effect_noise((212, 131), 90).convert("RGB")
    picture.paste((255, 0, 255), (0, 0, 30, 30))
    raw = processor(picture, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    return raw, processor(picture, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32])
def test_raw_pixels_become_those_of_the_image_processor(processor_config, patches, dtype):
    """Bit for bit, also of bfloat16, which holds every level."""
    raw, expected = patches
    assert int(raw.min()) == 0
    assert int(raw.max()) == 255
    grid = torch.tensor([[1, 2, 3]])
    found, passed_on = PixelScale(processor_config)(None, (raw.to(dtype), grid))
    assert found.dtype == expected.dtype == torch.float32
    assert torch.equal(found, expected)
    assert passed_on is grid


def test_pixels_are_scaled_in_float32_under_any_default(processor_config, patches):
    """A model of bfloat16 is made under that default dtype, which is too coarse for the means."""
    raw, expected = patches
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        scale = PixelScale(processor_config)
    finally:
        torch.set_default_dtype(default)
    (found,) = scale(None, (raw,))
    assert torch.equal(found, expected)


RAW = {"do_rescale": False, "do_normalize": False}


def config_of(kwargs, **multimodal):
    """Return vLLM's configuration with these arguments for the image processor."""
    multimodal_config = SimpleNamespace(mm_processor_kwargs=kwargs, **multimodal)
    return SimpleNamespace(model_config=SimpleNamespace(multimodal_config=multimodal_config))


def test_an_older_vllm_leaves_the_pixels_to_the_model():
    """Below 0.29, where the image processor was told to leave them."""
    assert takes_raw_pixels(config_of(RAW))


@pytest.mark.parametrize("kwargs", [None, {}, {"do_normalize": True}, {"do_normalize": False}, {"max_pixels": 5000}])
def test_the_image_processor_normalises_unless_told_otherwise(kwargs):
    """Pixels are never normalised twice, nor those that were scaled to 0..1."""
    assert not takes_raw_pixels(config_of(kwargs))


@pytest.mark.parametrize("by_device", [True, False, None])
def test_a_vllm_that_normalises_itself_is_left_to_it(by_device):
    """From 0.29 the pixels come normalised, whoever did it."""
    assert not takes_raw_pixels(config_of(RAW, mm_device_do_normalize=by_device))
