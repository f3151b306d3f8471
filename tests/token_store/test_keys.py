"""Token vectors on disk: what is kept is found again, under a key of all that decides it."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jina_vllm_integrations import ImageFormatError, InProcessEngine, InputError, JinaEncoder, TokenStore
from jina_vllm_integrations.images import ImageHandle
from jina_vllm_integrations.scoring.quantization import dequantize
from jina_vllm_integrations.testing import FakeEngine
from jina_vllm_integrations.token_store.keys import pinned
from kept_vectors import ITEMS, assert_same, keys_of
from pictures import encoded, picture


@pytest.mark.parametrize("pool_factor", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_what_is_kept_is_found(tmp_path, encoder, dtype, pool_factor):
    """Texts and images come back bit by bit as they were kept, also after the store was closed."""
    tokens = encoder.embed_tokens(ITEMS, role="document")
    with TokenStore(tmp_path, dtype=dtype, pool_factor=pool_factor) as store:
        keys = keys_of(store, encoder, ITEMS)
        assert store.get_many(keys) == [None] * 4
        kept = store.put_many(list(zip(keys, tokens, strict=True)))
        for one, other in zip(store.get_many(keys), kept, strict=True):
            assert_same(one, other)
    with TokenStore(tmp_path, dtype=dtype, pool_factor=pool_factor, readonly=True) as store:
        found = store.get_many([b"unknown", *keys[::-1], keys[0]])
        assert found[0] is None
        for one, other in zip(found[1:], [*kept[::-1], kept[0]], strict=True):
            assert_same(one, other)
    for computed, small in zip(tokens, kept, strict=True):
        assert small.vectors.dtype == dtype
        assert small.grid == computed.grid
        rows = range(len(computed.vectors)) if small.row_of_token is None else small.row_of_token
        if pool_factor == 1:
            close = dequantize(small.vectors, small.scales)[rows]
            np.testing.assert_allclose(close, computed.vectors, rtol=0, atol=4e-3)
        else:
            assert len(small.vectors) < len(computed.vectors) == len(rows)


def test_vectors_of_float32_are_exact(tmp_path, encoder):
    """With dtype float32 nothing is rounded."""
    (tokens,) = encoder.embed_tokens(["ein Text"], role="document")
    with TokenStore(tmp_path, dtype="float32") as store:
        store.put_many([(b"key", tokens)])
        assert_same(store.get_many([b"key"])[0], tokens)


def test_everything_that_changes_the_vectors_is_in_the_key(tmp_path, encoder):
    """Another text, role, task, model, dtype or pooling is another key; none is found for another."""
    other_task = JinaEncoder(encoder.engine, task="code")
    other_model = JinaEncoder(FakeEngine(hidden_size=32), task="retrieval")
    short = JinaEncoder(FakeEngine(max_tokens=16), task="retrieval", truncate=True)
    with TokenStore(tmp_path / "a") as store:
        keys = {
            "as it is": keys_of(store, encoder, ["a longer text"])[0],
            "another text": keys_of(store, encoder, ["a longer Text"])[0],
            "as a query": keys_of(store, encoder, ["a longer text"], role="query")[0],
            "for code": keys_of(store, other_task, ["a longer text"])[0],
            "another model": keys_of(store, other_model, ["a longer text"])[0],
            "cut": keys_of(store, short, ["a longer text"])[0],
        }
    for name, options in {"int8": {"dtype": "int8"}, "pooled": {"pool_factor": 2}}.items():
        with TokenStore(tmp_path / name, **options) as store:
            keys[name] = keys_of(store, encoder, ["a longer text"])[0]
    assert len(set(keys.values())) == len(keys)


def test_an_image_is_its_pixels(store, encoder, tmp_path):
    """One picture as PNG, BMP, file, data URI and PIL image has one key; one pixel more has another."""
    image = picture("red")
    (tmp_path / "red.png").write_bytes(encoded(image, "PNG"))
    forms = [image, encoded(image, "PNG"), encoded(image, "BMP"), tmp_path / "red.png", encoded(image, "TIFF")]
    assert len(set(keys_of(store, encoder, forms))) == 1
    other = image.copy()
    other.putpixel((3, 4), (254, 0, 0))
    wide = picture("red", (60, 90))  # the same bytes in another shape
    assert len(set(keys_of(store, encoder, [image, other, wide]))) == 3


def test_a_known_file_is_not_decoded_again(store, encoder, monkeypatch, tmp_path):
    """A file's bytes are remembered, in this process and on disk, so a key costs a hash."""
    content = encoded(picture("red"), "PNG")
    keys = keys_of(store, encoder, [content])
    store.put_many([(keys[0], encoder.embed_tokens([content], role="document")[0])])
    store.close()
    (tmp_path / "same.png").write_bytes(content)
    monkeypatch.setattr(ImageHandle, "load", lambda _: pytest.fail("decoded"))
    with TokenStore(tmp_path / "store") as again:
        assert keys_of(again, encoder, [content, tmp_path / "same.png"]) == keys * 2


def test_a_file_that_changes_is_another_image(store, encoder, tmp_path):
    """The content counts, not the name; and what was hashed is what is embedded, whatever happens to the file."""
    path = tmp_path / "page.png"
    path.write_bytes(encoded(picture("red"), "PNG"))
    (red,) = keys_of(store, encoder, [path])
    request = pinned(encoder.requests([path], role="document", output="tokens")[0])
    path.write_bytes(encoded(picture("blue"), "PNG"))
    assert keys_of(store, encoder, [path]) != [red]
    assert store.keys(encoder, [request]) == [red]
    (embedding,) = encoder.compute([request])
    (expected,) = encoder.embed_tokens([picture("red")], role="document")
    np.testing.assert_array_equal(embedding.tokens.vectors, expected.vectors)


def test_an_image_that_its_owner_changes_is_what_it_was(store, encoder):
    """A file's pages come as one object that goes on to the next: each is kept under its own pixels."""
    colours = ("red", "blue", "white", "black", "green", "gray")
    pages = [picture(colour) for colour in colours]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    store.warm(encoder, ImageSequence.Iterator(Image.open(file)))
    expected = encoder.embed_tokens(pages, role="document")
    for found, tokens in zip(store.find(encoder, pages), expected, strict=True):
        assert_same(found, store.as_kept(tokens))


def test_items_are_found(store, encoder):
    """By what they are, without computing; bad ones are named."""
    assert store.find(encoder, ITEMS) == [None] * 4
    store.warm(encoder, ITEMS[:2])
    n_computed = encoder.engine.n_requests
    found = store.find(encoder, [*ITEMS, encoded(ITEMS[1], "PNG")])
    assert [tokens is not None for tokens in found] == [True, True, False, False, True]
    assert store.find(encoder, ITEMS[:1], role="query") == [None]
    assert encoder.engine.n_requests == n_computed
    with pytest.raises(InputError, match="item 1: a text must have content"):
        store.find(encoder, ["a", " "])


def test_an_image_that_cannot_be_decoded_is_named(store, encoder):
    """Its position is in the error, and the others have keys."""
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"), "PNG")[:-900]
    with pytest.raises(ImageFormatError) as caught:
        keys_of(store, encoder, ["a text", cut])
    assert caught.value.index == 1


def test_no_vectors_are_not_kept(store, encoder):
    """A record without rows could never be scored."""
    (tokens,) = encoder.embed_tokens(["one"], role="document")
    with pytest.raises(InputError, match=r"item 1: .* at least one token"):
        store.put_many([(b"one", tokens), (b"none", replace(tokens, vectors=tokens.vectors[:0]))])
    assert len(store) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_not_kept(store, encoder, value):
    """None of the entries is kept, and the error names the one."""
    good, bad = encoder.embed_tokens(["one", "two"], role="document")
    bad.vectors[1, 1] = value
    with pytest.raises(InputError, match="item 1: token vectors must be finite to be kept"):
        store.put_many([(b"good", good), (b"bad", bad)])
    assert store.get_many([b"good", b"bad"]) == [None, None]


# Fingerprints of real engines, which are not started for it.


@pytest.fixture
def copied(checkpoint, tmp_path):
    """Return a copy of the session's checkpoint, which may be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "elsewhere" / "copy"))


def test_a_model_is_its_content(checkpoint, copied):
    """A copy elsewhere, written at another time, is the same model."""
    (copied / "README.md").write_text("A copy.")
    assert InProcessEngine(copied).fingerprint == InProcessEngine(checkpoint).fingerprint


@pytest.mark.parametrize("name", ["model.safetensors", "multi_vector/projectors.safetensors", "tokenizer.json"])
def test_one_changed_byte_is_another_model(checkpoint, copied, name):
    """Weights, heads and vocabularies count to the last byte, also in a process that saw the file before."""
    before = InProcessEngine(copied).fingerprint
    content = bytearray((copied / name).read_bytes())
    content[-2] ^= 1
    (copied / name).write_bytes(content)
    try:
        assert InProcessEngine(copied).fingerprint != before
    finally:
        assert InProcessEngine(checkpoint).fingerprint == before


def test_pixel_limits_are_another_model(copied):
    """A checkpoint's own limits, and those of the processor's options."""
    before = InProcessEngine(copied).fingerprint
    assert InProcessEngine(copied, mm_processor_kwargs={"max_pixels": 50176}).fingerprint != before
    config = json.loads((copied / "preprocessor_config.json").read_text())
    config["max_pixels"] = 50176
    (copied / "preprocessor_config.json").write_text(json.dumps(config))
    assert InProcessEngine(copied).fingerprint != before


def test_options_count_where_they_change_vectors(checkpoint):
    """Numbers of another dtype are other vectors; more memory or longer batches are not."""
    plain = InProcessEngine(checkpoint).fingerprint
    same = {"max_num_seqs": 7, "kv_cache_memory_bytes": 2**20, "enforce_eager": True, "max_model_len": 512}
    assert InProcessEngine(checkpoint, **same).fingerprint == plain
    assert InProcessEngine(checkpoint, pooling="client").fingerprint == plain
    others = [
        InProcessEngine(checkpoint, dtype="bfloat16"),
        InProcessEngine(checkpoint, dtype="float16"),
        InProcessEngine(checkpoint, wire_dtype="float16"),
        InProcessEngine(checkpoint, load_format="dummy"),
        InProcessEngine(checkpoint, hf_overrides={"matryoshka_dimensions": [64]}),
    ]
    assert len({plain, *(engine.fingerprint for engine in others)}) == 6
