"""Our vectors against transformers' own Qwen2.5-VL with plainly written pooling, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from jina_vllm_integrations import JinaEncoder
from pictures import encoded
from reference import IMAGE_HEAD, IMAGE_TAIL, Reference, dense, tokens

TOLERANCE = 1e-5

TEXTS = {
    "one token": "x",
    "German": "Der Zug nach Köln fährt pünktlich über die Brücke um 8 Uhr.",
    "Japanese": "ベルリン行きの列車は八時に出発します。",
    "English": "The train to Berlin leaves at eight o'clock.",
    "Arabic": "يغادر القطار إلى برلين في الساعة الثامنة",
    "emoji": "🚆➡️🏙️ 08:00 👩‍👩‍👧‍👦🏳️‍🌈",
    "white space inside": "  a\tb\n\nc  ",
    "several chunks": "Ein langer Satz über Züge. " * 40,
    "near the limit": "y" * 2030,
}


@pytest.fixture(scope="module")
def reference(checkpoint):
    """Return the reference model."""
    return Reference(checkpoint)


@pytest.fixture(params=["vllm_engine", "client_engine"])
def encoder(request):
    """Return an encoder over the real engine, pooling inside vLLM and by the client."""
    return JinaEncoder(request.getfixturevalue(request.param), task="retrieval")


@pytest.fixture(scope="module")
def head(checkpoint):
    """Return the weight and bias of the retrieval task's multi-vector head."""
    tensors = load_file(checkpoint / "multi_vector" / "projectors.safetensors")
    return tensors["retrieval.weight"], tensors["retrieval.bias"]


def noise(*shape, seed=0, dtype=np.uint8):
    """Return random pixels that are coarse enough to survive resizing."""
    rows, columns, *channels = shape
    high = np.iinfo(dtype).max + 1
    cells = np.random.default_rng(seed).integers(
        0, high, size=(-(-rows // 8), -(-columns // 8), *channels), dtype=dtype
    )
    return cells.repeat(8, axis=0).repeat(8, axis=1)[:rows, :columns]


def on_white(pixels, alpha):
    """Blend RGB pixels over white."""
    weight = alpha[..., None] / 255
    return np.rint(pixels * weight + 255 * (1 - weight)).astype(np.uint8)


def picture_cases():
    """Yield a name, an image as users have it, and the RGB pixels that the model should see."""
    rgb = noise(120, 200, 3)
    grey = noise(120, 200)
    yield "photo", Image.fromarray(rgb), rgb
    yield "one pixel", Image.fromarray(rgb[:1, :1]), rgb[:1, :1]
    yield "huge", Image.fromarray(noise(2000, 3000, 3)), noise(2000, 3000, 3)
    yield "1:20", Image.fromarray(noise(60, 1200, 3)), noise(60, 1200, 3)
    yield "20:1", Image.fromarray(noise(1200, 60, 3)), noise(1200, 60, 3)
    yield "greyscale", Image.fromarray(grey), np.stack([grey] * 3, axis=-1)
    alpha = noise(120, 200, seed=1)
    yield "RGBA", Image.fromarray(np.dstack([rgb, alpha])), on_white(rgb, alpha)
    palette = Image.fromarray(rgb).quantize(16)
    yield "palette", encoded(palette, "PNG"), np.asarray(palette.convert("RGB"))
    cmyk = Image.fromarray(rgb).convert("CMYK")
    yield "CMYK", cmyk, np.asarray(cmyk.convert("RGB"))
    deep = noise(120, 200, dtype=np.uint16)
    shown = (deep >> 8).astype(np.uint8)  # as Pillow does with 16 bits of each colour
    yield "16 bits", encoded(Image.fromarray(deep), "PNG"), np.stack([shown] * 3, axis=-1)
    rotated = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    yield "EXIF", encoded(rotated, "PNG", exif=exif), np.rot90(rgb, k=-1)


PICTURES = {name: (image, np.ascontiguousarray(pixels)) for name, image, pixels in picture_cases()}


def distance(ours, theirs):
    """Return the relative L2 distance of two arrays."""
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("name", TEXTS)
def test_text_equals_the_reference(encoder, reference, head, name):
    """Dense and token vectors of a document are those of ``Passage: ...``."""
    states = reference.text_states(f"Passage: {TEXTS[name]}")
    assert distance(encoder.embed([TEXTS[name]], role="document")[0], dense(states)) < TOLERANCE
    (ours,) = encoder.embed_tokens([TEXTS[name]], role="document")
    assert distance(ours.vectors, tokens(states, *head)) < TOLERANCE
    assert ours.grid is None
    assert not ours.image_mask.any()


@pytest.mark.parametrize("name", PICTURES)
def test_image_equals_the_reference(encoder, reference, head, name):
    """Dense and token vectors of an image are those of the literal prompt; the mean is over the vision span alone."""
    image, pixels = PICTURES[name]
    states, grid = reference.image_states(Image.fromarray(pixels))
    before = len(reference.tokenizer(IMAGE_HEAD)["input_ids"]) - 1
    after = len(reference.tokenizer(IMAGE_TAIL)["input_ids"]) - 1
    assert distance(encoder.embed([image], role="document")[0], dense(states[before:-after])) < TOLERANCE
    (ours,) = encoder.embed_tokens([image], role="document")
    assert distance(ours.vectors, tokens(states, *head)) < TOLERANCE
    assert ours.grid == grid
    assert ours.image_mask.sum() == grid[0] * grid[1]
    assert np.flatnonzero(ours.image_mask)[0] == before + 1


@pytest.mark.parametrize(
    ("task", "role", "prefix"),
    [
        ("retrieval", "query", "Query"),
        ("retrieval", "document", "Passage"),
        ("code", "query", "Query"),
        ("code", "document", "Passage"),
        ("text-matching", "query", "Query"),
        ("text-matching", "document", "Query"),
    ],
)
def test_prefix_of_each_task_and_role(vllm_engine, reference, task, role, prefix):
    """A task and a role decide the prefix; text matching always asks."""
    ours = JinaEncoder(vllm_engine, task=task).embed(["Guten Tag"], role=role)[0]
    assert distance(ours, dense(reference.text_states(f"{prefix}: Guten Tag"))) < TOLERANCE


def test_an_image_has_no_role(encoder):
    """The image prompt is the same for a query and a document."""
    image, _ = PICTURES["photo"]
    np.testing.assert_allclose(encoder.embed([image], role="query"), encoder.embed([image], role="document"), atol=1e-6)


def test_matryoshka_cuts_before_the_norm(vllm_engine, reference):
    """A shorter vector is the start of the mean, scaled to unit length on its own."""
    states = reference.text_states("Passage: Guten Tag")
    ours = JinaEncoder(vllm_engine, task="retrieval", dimensions=64).embed(["Guten Tag"], role="document")[0]
    assert ours.shape == (64,)
    assert distance(ours, dense(states, 64)) < TOLERANCE


def test_averaging_normalised_tokens_is_another_vector(encoder, reference):
    """The mistake of several published snippets: a token's length is its weight in the mean, and it is lost there."""
    states = reference.text_states("Passage: Guten Tag")
    mistaken = dense(torch.nn.functional.normalize(states, dim=-1))
    ours = encoder.embed(["Guten Tag"], role="document")[0]
    assert distance(ours, dense(states)) < TOLERANCE
    assert distance(ours, mistaken) > 100 * TOLERANCE
