"""Explanations: the score taken apart to the last cell, tokens called by their characters, pictures of it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from jina_vllm_integrations import Alignment, ImageInput, InputError, JinaEncoder, OptionError, TextInput, TokenVectors
from jina_vllm_integrations.demo import demo_checkpoint, demo_corpus
from jina_vllm_integrations.heatmaps import Explanation, aexplain, explain, explain_tokens, lettering, overlays
from jina_vllm_integrations.heatmaps.labels import prompt_tokens, token_labels
from jina_vllm_integrations.heatmaps.tables import format_explanation
from jina_vllm_integrations.model.checkpoints import Checkpoint
from jina_vllm_integrations.scoring import score
from jina_vllm_integrations.scoring.compression import pool_tokens
from jina_vllm_integrations.scoring.quantization import dequantize, quantize
from jina_vllm_integrations.testing import FakeEngine

FAKE = FakeEngine()
ENCODER = JinaEncoder(FAKE, task="retrieval")
TOKENIZER = FAKE.checkpoint.tokenizer
DEMO_TOKENIZER = Checkpoint.read(demo_checkpoint()).tokenizer
# A score adds up as many rounding errors as the query has tokens.
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def page():
    """Return a white page, four cells by three, with a red cell in the second row and third column."""
    picture = Image.new("RGB", (84, 112), "white")
    picture.paste("red", (56, 28, 84, 56))
    return picture


def tokens_of(text, tokenizer=TOKENIZER):
    """Return a text's record, with vectors that mean nothing."""
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids)
    return TokenVectors(
        vectors=np.ones((len(ids), 1), dtype=np.float32),
        token_ids=ids,
        image_mask=np.zeros(len(ids), dtype=bool),
        grid=None,
    )


@st.composite
def pairs(draw):
    """Draw a query, and a page of any grid and dtype, pooled in any way: rows of cells, of others, and of both."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    query = tokens_of(draw(st.text(min_size=1, max_size=8)))
    query = replace(query, vectors=rng.standard_normal((len(query.token_ids), 8), dtype=np.float32))
    grid, before, after = draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), draw(st.integers(0, 3)), 2
    mask = np.zeros(before + math.prod(grid) + after, dtype=bool)
    mask[before:-after] = True
    n_rows = draw(st.none() | st.integers(1, len(mask)))
    row_of_token = None
    if n_rows is not None:
        row_of_token = rng.permutation(np.concatenate([np.arange(n_rows), rng.integers(0, n_rows, len(mask) - n_rows)]))
    vectors = rng.standard_normal((n_rows or len(mask), 8), dtype=np.float32)
    vectors, scales = quantize(vectors, draw(st.sampled_from(["float32", "float16", "int8"])))
    page = TokenVectors(
        vectors=vectors,
        token_ids=np.zeros(len(mask), dtype=np.int64),
        image_mask=mask,
        grid=grid,
        scales=scales,
        row_of_token=row_of_token,
    )
    return query, page


@given(pairs())
def test_the_score_is_laid_on_its_winners(pair):
    """A plain loop over the query's tokens lays each best similarity on the tokens of the row that has it."""
    query, page = pair
    rows = np.arange(len(page.vectors)) if page.row_of_token is None else page.row_of_token
    vectors = dequantize(page.vectors, page.scales).astype(np.float64)
    attribution, elsewhere = np.zeros((len(query.vectors), page.image_mask.sum())), 0.0
    for number, token in enumerate(query.vectors.astype(np.float64)):
        products = vectors @ token
        shares = (rows == products.argmax()) * products.max() / (rows == products.argmax()).sum()
        attribution[number] = shares[page.image_mask]
        elsewhere += shares[~page.image_mask].sum()
    explanation = explain_tokens(query, page, TOKENIZER)
    shape = (len(query.vectors), *page.grid)
    np.testing.assert_allclose(explanation.attribution, attribution.reshape(shape), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(explanation.elsewhere, elsewhere, rtol=1e-4, atol=1e-5)
    similarities = (query.vectors @ vectors[rows][page.image_mask].T).reshape(shape)
    np.testing.assert_allclose(explanation.similarities, similarities, rtol=1e-4, atol=1e-5)
    assert explanation.similarities.dtype == explanation.attribution.dtype == explanation.total.dtype == np.float32


@given(pairs())
def test_the_parts_sum_to_the_score(pair):
    """Whatever is pooled and in whatever dtype: all cells, and what is elsewhere, are the score."""
    query, page = pair
    explanation = explain_tokens(query, page, TOKENIZER)
    assert explanation.total.sum() + explanation.elsewhere == pytest.approx(explanation.score, rel=1e-5, abs=1e-4)
    assert explanation.score == pytest.approx(float(score(query, [page])[0]), rel=1e-5, abs=1e-4)


def test_a_sum_of_similarities_is_no_attribution(page):
    """The usual map of sums is another, and adds up to anything but the score."""
    explanation = explain(ENCODER, "a red cell", page)
    assert abs(explanation.similarities.sum() - explanation.score) > 1


def test_the_cell_that_is_looked_for(page):
    """A picture that is all red finds the red cell, and nothing but it."""
    explanation = explain(ENCODER, Image.new("RGB", (56, 56), "red"), page)
    own = [label for label, prompt in zip(explanation.labels, explanation.prompt_mask, strict=True) if not prompt]
    assert own == ["0,0", "0,1", "1,0", "1,1"]
    assert "".join(explanation.labels).startswith("<|im_start|>user\n<|vision_start|>0,00,1")
    cells = explanation.attribution[~explanation.prompt_mask]
    assert [np.argwhere(cell).tolist() for cell in cells] == [[[1, 2]]] * 4
    np.testing.assert_allclose(cells.sum(axis=0)[1, 2], 4, **CLOSE)


def test_vectors_of_a_store(page):
    """Token vectors that are there already, pooled and in fewer bytes, are explained as those that are just made."""
    (query,) = ENCODER.embed_tokens(["a red cell"], role="query")
    (tokens,) = ENCODER.embed_tokens([page], role="document")
    pooled = pool_tokens(tokens, 2)
    stored, scales = quantize(pooled.vectors, "int8")
    explanation = explain_tokens(query, replace(pooled, vectors=stored, scales=scales), TOKENIZER)
    fresh = explain(ENCODER, "a red cell", page, pool_factor=2)
    np.testing.assert_allclose(explanation.similarities, fresh.similarities, rtol=0, atol=0.02)
    assert explanation.labels == fresh.labels
    assert (
        explain_tokens(query, tokens, TOKENIZER).total.tolist() == explain(ENCODER, "a red cell", page).total.tolist()
    )


def test_the_asynchronous_twin(page):
    """It says the same."""
    explanation = asyncio.run(aexplain(ENCODER, "a red cell", page, pool_factor=2))
    expected = explain(ENCODER, "a red cell", page, pool_factor=2)
    assert explanation.attribution.tolist() == expected.attribution.tolist()
    assert explanation.labels == expected.labels


def test_both_are_computed_at_once(page, monkeypatch):
    """One batch has the query and the page, also beside an event loop, so that the engine works once."""
    lots = []
    submit = FAKE.submit
    monkeypatch.setattr(FAKE, "submit", lambda requests: lots.append(len(requests)) or submit(requests))
    explain(ENCODER, "a red cell", page)
    asyncio.run(aexplain(ENCODER, "a red cell", page))
    assert [n_requests for n_requests in lots if n_requests] == [2, 2]


@pytest.mark.parametrize("broken", ["query", "image"])
def test_an_image_that_cannot_be_decoded(page, broken, tmp_path):
    """What only decoding shows is told of the one image, without a position."""
    path = tmp_path / f"{broken}.png"
    Image.effect_noise((200, 200), 60).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    items = {"query": "a red cell", "image": page, broken: path}
    for call in (explain, lambda *args: asyncio.run(aexplain(*args))):
        with pytest.raises(InputError, match=rf"^an image must .*{broken}\.png") as caught:
            call(ENCODER, items["query"], items["image"])
        assert caught.value.index is None


TEXTS = [TextInput("Text"), "invoice.png"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_no_page(page, text):
    """It is named, with what may have been meant, before any work."""
    with pytest.raises(InputError, match=r"the page must be an image, got the text '.*ImageInput"):
        explain(ENCODER, "query", text)
    with pytest.raises(InputError, match="the page must be an image"):
        asyncio.run(aexplain(ENCODER, "query", text))
    with pytest.raises(InputError, match="the page must be an image"):
        explain(ENCODER, "query", page).overlay(text)


def test_what_cannot_be_explained(page):
    """A text's vectors, a pooled query, other widths, another tokenizer, items and factors that are none."""
    (query, other) = ENCODER.embed_tokens(["a red cell", "ein Text"], role="query")
    (tokens,) = ENCODER.embed_tokens([page], role="document")
    with pytest.raises(InputError, match="must be an image, got the 15 tokens of a text, which has no grid"):
        explain_tokens(query, other, TOKENIZER)
    with pytest.raises(InputError, match=r"a vector for each token, got \d+ rows of 17 pooled tokens"):
        explain_tokens(pool_tokens(query, 3), tokens, TOKENIZER)
    with pytest.raises(InputError, match=r"must have the query's shape \(n_tokens, 32\)"):
        explain_tokens(query, replace(tokens, vectors=tokens.vectors[:, :16]), TOKENIZER)
    with pytest.raises(InputError, match="that of the query's checkpoint, this one has no token 99999"):
        explain_tokens(replace(query, token_ids=query.token_ids + 99999 - query.token_ids[0]), tokens, TOKENIZER)
    with pytest.raises(InputError, match=r"^a text must have content") as caught:
        explain(ENCODER, " ", page)
    assert caught.value.index is None
    with pytest.raises(InputError, match=r"^an image path must name a file; 'missing.png'"):
        explain(ENCODER, "query", Path("missing.png"))
    with pytest.raises(OptionError, match="factor must be a whole number from 1, got 0"):
        explain(ENCODER, "query", page, pool_factor=0)


@given(st.text(min_size=1, max_size=12))
def test_a_byte_is_called_by_its_character(text):
    """With a token for each byte, a label is the one character that the byte is of."""
    labels = token_labels(tokens_of(f"Query: {text}"), TOKENIZER)
    assert labels == tuple(character for character in f"Query: {text}" for _ in character.encode())


@given(st.text(min_size=1, max_size=30) | st.sampled_from([query.text for query in demo_corpus().queries]))
def test_labels_are_parts_of_the_text(text):
    """With tokens that begin and end within characters, labels follow one another through the text, none is empty."""
    prompt = f"Query: {text}"
    position = 0
    for label in token_labels(tokens_of(prompt, DEMO_TOKENIZER), DEMO_TOKENIZER):
        assert label
        if prompt[position : position + len(label)] != label:
            position -= 1  # the character before is shared
        assert prompt[position : position + len(label)] == label
        position += len(label)
    assert position == len(prompt)


def test_japanese():
    """No token is called by the sign for broken characters."""
    tokens = tokens_of("Query: 在庫は?", DEMO_TOKENIZER)
    assert token_labels(tokens, DEMO_TOKENIZER) == ("Query", ":", " 在", "在", "庫", "庫", "庫は", "?")
    assert prompt_tokens(tokens, DEMO_TOKENIZER).tolist() == [True] * 2 + [False] * 6


@pytest.mark.parametrize(("text", "n_bytes"), [("Query: Wo", 7), ("Passage: Wo", 9), ("Wo: Query: Wo", 0)])
def test_the_prefix_is_the_prompts(text, n_bytes):
    """Of texts, the prompt has the prefix of either role, at the start."""
    mask = prompt_tokens(tokens_of(text), TOKENIZER)
    assert mask.tolist() == [True] * n_bytes + [False] * (len(text) - n_bytes)


def pixels(picture):
    """Return a picture's pixels. *Shape:* ``(height, width, 3)``, int."""
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def test_the_total_colours_the_cells_that_won(page):
    """Cells that add nothing stay as they are, those that add are coloured evenly, the page itself is not touched."""
    before = page.tobytes()
    explanation = explain(ENCODER, Image.new("RGB", (56, 56), "red"), page)
    changed = pixels(explanation.overlay(page)) != pixels(page)
    cells = changed.any(axis=2).reshape(4, 28, 3, 28).transpose(0, 2, 1, 3).reshape(4, 3, -1)
    assert (cells.any(axis=2) == cells.all(axis=2)).all()
    assert (cells.any(axis=2) == (explanation.total > 0)).all()
    assert page.tobytes() == before


def test_a_token_frames_its_winner(page):
    """The frame is the winner's cell and no other's, whose inside shows the strongest colour."""
    explanation = explain(ENCODER, Image.new("RGB", (56, 56), "red"), page)
    token = explanation.labels.index("0,0")
    frame = (pixels(explanation.overlay(page, token=token)) == overlays._FRAME).all(axis=2)
    assert np.argwhere(frame).min(axis=0).tolist() == [28, 56]
    assert np.argwhere(frame).max(axis=0).tolist() == [55, 83]
    assert not frame[32:52, 60:80].any()


def test_a_token_that_found_no_cell(page):
    """Its picture has no frame, and where no cell is better than most the page is as it was."""
    explanation = explain(ENCODER, "text", page)
    flat = replace(
        explanation,
        similarities=np.zeros_like(explanation.similarities),
        attribution=np.zeros_like(explanation.attribution),
    )
    assert flat.overlay(page).tobytes() == page.tobytes()
    assert flat.overlay(page, token=0).tobytes() == page.tobytes()


def test_pictures_are_upright_and_of_a_sensible_size(tmp_path):
    """A photo that lies on its side is shown as it was embedded, and a large scan is made smaller."""
    photo = Image.new("RGB", (112, 84), "white")
    photo.paste("red", (0, 0, 28, 28))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it
    photo.save(tmp_path / "photo.png", exif=exif)
    explanation = explain(ENCODER, Image.new("RGB", (56, 56), "red"), tmp_path / "photo.png")
    assert np.argwhere(explanation.total > 1).tolist() == [[0, 2]]
    assert explanation.overlay(tmp_path / "photo.png").size == (84, 112)
    scan = Image.new("L", (5000, 2500), 200)
    explanation = explain(ENCODER, "text", scan)
    assert explanation.overlay(scan, token=3).size == (1600, 800)
    assert explanation.sheet(ImageInput(scan)).width < 1600


@pytest.mark.parametrize("token", [-1, 99, 0.0, True, "0"])
def test_there_is_no_such_token(page, token):
    """Which there are is told."""
    explanation = explain(ENCODER, "x", page)
    with pytest.raises(OptionError, match="token must be None or from 0 to 7, got "):
        explanation.overlay(page, token=token)


@pytest.mark.parametrize("size", [(28, 28), (2800, 28), (28, 2800), (300, 200)])
@pytest.mark.parametrize("query", ["x", "a text that is longer, " * 4, Image.new("RGB", (280, 280), "red")])
def test_a_sheet_of_any_page_and_query(query, size):
    """Few tokens or many, flat pages and tall ones: a picture to look at."""
    page = Image.new("RGB", size, "blue")
    sheet = explain(ENCODER, query, page).sheet(page)
    assert sheet.mode == "RGB"
    assert 600 < sheet.width < 1200
    assert 100 < sheet.height < 3000


def test_what_a_font_lacks_is_escaped(monkeypatch):
    """White box: nothing is drawn as an empty box. Pillow's own font, the last resort, has ASCII."""
    monkeypatch.setattr(lettering, "_USUAL", "no-such-font.ttf")
    assert lettering.Lettering(None)._drawable("a Tür 東\x07") == r"a T\xfcr \u6771\x07"


def test_a_font_of_ones_own(tmp_path, page):
    """A font file is used as it is, and something else is told."""
    explanation = explain(ENCODER, "text", page)
    font = tmp_path / "font.ttf"
    font.write_bytes(ImageFont.load_default(10).path.getvalue())
    assert explanation.sheet(page, font=font).size == explanation.sheet(page).size
    font.write_text("no font")
    with pytest.raises(OptionError, match=r"must be a TrueType or OpenType file, '.*font\.ttf' cannot be read"):
        explanation.sheet(page, font=font)


def test_the_table():
    """The score and its parts, then a row a token: its best similarity, where, and how it is called."""
    explanation = Explanation(
        similarities=np.zeros((4, 1, 2), dtype=np.float32),
        attribution=np.array([[[0, 0]], [[0.25, 0.25]], [[0, 0.75]], [[0.5, 0]]], dtype=np.float32),
        elsewhere=0.125,
        alignment=Alignment(rows=np.arange(4), similarities=np.array([0.125, 0.5, 0.75, 0.5], dtype=np.float32)),
        labels=("Query", " 在", "\n", " x"),
        prompt_mask=np.array([True, False, False, False]),
    )
    assert format_explanation(explanation).splitlines() == [
        "score 1.88: 1.75 in the image, 0.12 in the prompt around it",
        "",
        "     best   row,column        token (* of every query)",
        "0*   0.12   not in the image  Query",
        "1    0.50   0,0 and 1 more    在",
        r"2    0.75   0,1               '\n'",
        "3    0.50   0,0               x",
    ]


def test_a_page_that_vllm_encoded(vllm_engine, page):
    """Grid, mask and labels fit what the real engine returns: a page finds itself, cell for cell."""
    explanation = explain(JinaEncoder(vllm_engine, task="retrieval"), page, page)
    assert explanation.total.shape == (4, 3)
    found = explanation.attribution[~explanation.prompt_mask]
    np.testing.assert_allclose(np.diagonal(found.reshape(12, 12)), 1, rtol=0, atol=1e-3)
    np.testing.assert_allclose(explanation.elsewhere, explanation.prompt_mask.sum(), rtol=0, atol=1e-2)
