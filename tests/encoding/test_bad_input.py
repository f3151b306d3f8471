"""Bad input: each kind gives its own error, which names the item, the rule and the remedy."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations import (
    EmptyTextError,
    ImageFormatError,
    ImageInput,
    ImageLimits,
    ImageNotFoundError,
    ImageSizeError,
    InputError,
    ItemTypeError,
    JinaEncoder,
    OptionError,
    TextInput,
    TextTooLongError,
)
from jina_vllm_integrations.testing import FakeEngine


@pytest.fixture(scope="module")
def engine():
    """Return a fake engine that takes 100 tokens: prompts and limits are the real ones."""
    with FakeEngine(max_tokens=100) as engine:
        yield engine


@pytest.fixture
def encoder(engine):
    """Return an encoder over it."""
    return JinaEncoder(engine, task="retrieval")


def embed_second(encoder, item):
    """Embed an item after a good one."""
    return encoder.embed(["good", item], role="document")


@pytest.mark.parametrize("text", ["", "   ", "\n\t\u3000"])
def test_empty_text(encoder, text):
    """Nothing and white space are no text."""
    with pytest.raises(EmptyTextError, match=r"item 1: a text must have content, got '.*'\. Leave it out"):
        embed_second(encoder, text)


@pytest.mark.parametrize("item", [None, 3, 1.5, ["nested"], {"text": "a"}, np.zeros((2, 2)), TextInput(None)])
def test_neither_text_nor_image(encoder, item):
    """Other types are refused with the list of those that are taken."""
    with pytest.raises(ItemTypeError, match="item 1: ") as caught:
        embed_second(encoder, item)
    assert type(item).__name__ in str(caught.value) or "NoneType" in str(caught.value)


@pytest.mark.parametrize("items", ["one text", b"one image", Image.new("RGB", (9, 9)), 3])
def test_one_item_instead_of_several(encoder, items):
    """A bare item is not taken for a sequence of characters."""
    with pytest.raises(ItemTypeError, match=r"For one item write \[item\]"):
        encoder.embed(items, role="query")
    with pytest.raises(ItemTypeError, match=r"For one item write \[item\]"):
        encoder.stream(items, role="query")


def test_text_too_long(encoder):
    """A text that is one token too long says how long it is and how long it may be."""
    prefix = len("Passage: ")
    encoder.embed(["x" * (100 - prefix)], role="document")
    with pytest.raises(TextTooLongError, match=r"item 1: a text may have 100 tokens with its prefix, this one has 101"):
        embed_second(encoder, "x" * (101 - prefix))


def test_text_too_long_is_cut_on_request_and_logged_once(engine, caplog):
    """With truncate=True the start counts, and the log says so once an encoder."""
    encoder = JinaEncoder(engine, task="retrieval", truncate=True)
    with caplog.at_level(logging.WARNING):
        long = encoder.embed(["x" * 500, "x" * 600], role="document")
    assert [record.getMessage() for record in caplog.records] == [
        "cut a text of 509 tokens to the engine's 100; further cuts are not logged"
    ]
    np.testing.assert_allclose(long, encoder.embed(["x" * 91] * 2, role="document"), atol=1e-6)


def test_broken_unicode(encoder):
    """A lone surrogate is no character."""
    with pytest.raises(InputError, match="item 1: a text must be valid Unicode"):
        embed_second(encoder, "half \ud83d emoji")


def test_missing_file(encoder, tmp_path):
    """A path must exist."""
    with pytest.raises(ImageNotFoundError, match=r"item 1: .*no-such"):
        embed_second(encoder, tmp_path / "no-such.png")


def test_directory(encoder, tmp_path):
    """A folder is not an image."""
    with pytest.raises(ImageNotFoundError, match="item 1: "):
        embed_second(encoder, tmp_path)


def test_text_file_named_png(encoder, tmp_path):
    """The content decides, not the name."""
    (tmp_path / "note.png").write_text("not a picture")
    with pytest.raises(ImageFormatError, match="item 1: "):
        embed_second(encoder, tmp_path / "note.png")


def test_truncated_image_names_its_item(encoder, tmp_path):
    """Damage that only decoding shows still names the item."""
    whole = tmp_path / "whole.png"
    Image.effect_noise((200, 200), 50).save(whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:10_000])
    with pytest.raises(ImageFormatError, match="item 1: "):
        embed_second(encoder, tmp_path / "half.png")


def test_decompression_bomb(engine, tmp_path):
    """The pixels are counted from the header, before any is decoded."""
    Image.new("1", (3000, 3000)).save(tmp_path / "bomb.png")
    encoder = JinaEncoder(engine, task="retrieval", image_limits=ImageLimits(max_pixels=1_000_000))
    with pytest.raises(ImageSizeError, match=r"item 1: .*1.?000.?000"):
        embed_second(encoder, tmp_path / "bomb.png")


def test_no_pixels(encoder):
    """A picture of 0x0 has nothing to show."""
    with pytest.raises(ImageSizeError, match=r"item 1: .*0 x 0"):
        embed_second(encoder, Image.new("RGB", (0, 0)))


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_too_flat_for_the_processor(encoder, size):
    """The processor's own rule is told in words."""
    with pytest.raises(ImageSizeError, match=r"item 1: the model takes images up to 200 times as long as wide, got"):
        embed_second(encoder, Image.new("RGB", size))


def test_an_image_of_more_tokens_than_the_engine_takes(engine):
    """An image's tokens are counted before any work is sent, like a text's."""
    page = Image.new("RGB", (600, 600))
    with pytest.raises(
        ImageSizeError, match=r"item 1: an image may have 100 tokens with its prompt, this one has 4\d\d"
    ):
        JinaEncoder(engine, task="retrieval").embed(["good", page], role="document")


def test_just_not_too_flat():
    """Two hundred to one is still taken, on one row of cells."""
    with FakeEngine() as roomy:
        (tokens,) = JinaEncoder(roomy, task="retrieval").embed_tokens([Image.new("RGB", (5600, 28))], role="document")
    assert tokens.grid == (1, 200)


def test_image_named_by_a_bare_string(encoder):
    """A data URI among texts is almost surely a mistake; a path or URL needs ImageInput, too."""
    with pytest.raises(ItemTypeError, match=r"item 1: a str is a text.*Write ImageInput\(uri\)"):
        embed_second(encoder, "data:image/png;base64,iVBORw0KGgo=")
    with pytest.raises(ImageFormatError, match="item 1: "):
        embed_second(encoder, ImageInput("data:image/png;base64,iVBORw0KGgo="))


@pytest.mark.parametrize("role", ["passage", "", None, "Query"])
def test_unknown_role(encoder, role):
    """A role is query or document, and no other word falls back to one of them."""
    with pytest.raises(OptionError, match="role must be one of 'query', 'document', got"):
        encoder.embed(["a"], role=role)
    with pytest.raises(OptionError, match="role must be one of"):
        encoder.stream(["a"], role=role)


def test_role_is_required(encoder):
    """No default turns a document into a query."""
    with pytest.raises(TypeError, match="role"):
        encoder.embed(["a"])


@pytest.mark.parametrize("task", ["search", None, "text_matching"])
def test_unknown_task(engine, task):
    """A task is one of three."""
    with pytest.raises(OptionError, match="task must be one of 'retrieval', 'text-matching', 'code', got"):
        JinaEncoder(engine, task=task)


@pytest.mark.parametrize("dimensions", [0, -1, 17, 128, "64", 64.0, True])
def test_unknown_dimensions(engine, dimensions):
    """The sizes are the checkpoint's own."""
    with pytest.raises(
        OptionError, match="dimensions must be one of the checkpoint's Matryoshka sizes 16, 32, 64, got"
    ):
        JinaEncoder(engine, task="retrieval", dimensions=dimensions)


def test_special_tokens_in_a_text_are_plain_characters(encoder):
    """What a user types opens no vision span and ends no turn."""
    typed = "see <|vision_start|><|image_pad|><|vision_end|> and <|im_end|>"
    (tokens,) = encoder.embed_tokens([typed], role="document")
    special = encoder.engine.checkpoint.special
    assert not np.isin(tokens.token_ids, [special.vision_start, special.vision_end, special.image_pad]).any()
    assert not tokens.image_mask.any()
    assert len(tokens.vectors) == len(f"Passage: {typed}".encode())


def test_check_finds_a_bad_item_without_computing(encoder, monkeypatch):
    """Items can be checked before an engine is started for them, any number of them."""
    monkeypatch.setattr(FakeEngine, "submit", lambda *_: pytest.fail("computed"))
    encoder.check(iter(["good", Image.new("RGB", (9, 9))]), role="query")
    with pytest.raises(EmptyTextError, match="item 2: "):
        encoder.check(iter(["good", "also good", "", None]), role="query")
    with pytest.raises(OptionError, match="role must be one of"):
        encoder.check([], role="passage")
