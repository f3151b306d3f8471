"""The demo's model: its data are apart, its training computes what vLLM serves, and it retrieves."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import pages
import pytest
import scenes
import snippets
import torch
from batches import CELL, WORDS, Steps
from losses import contrast, late_scores
from model import dense_vectors
from repository import read_repository
from search_sets import SET_NAMES, ndcg, search_set

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.demo import demo_checkpoint, demo_corpus
from jina_vllm_integrations.scoring import score
from jina_vllm_integrations.types import Task

BASE_REPO = Path(demo_corpus().documents[0].path).parents[1] / "base_repo"
SPLITS = ("train", "validation", "test")
SIZE = 60
MOST_BYTES = 8_000_000


@pytest.fixture
def engine(demo_vllm):
    """Return a vLLM of the demo's checkpoint."""
    return demo_vllm


@pytest.fixture(scope="module")
def miniature():
    """Return the model as it was trained, and its tokenizer."""
    return read_repository(BASE_REPO)


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_line_of_a_page_is_in_two_parts(one, other):
    """Words come again, whole lines do not: neither headings nor rows."""
    lines = [
        {line for _ in range(400) for line in pages.draw_page(random, split).lines}
        for random, split in ((Random(0), one), (Random(1), other))
    ]
    assert len(lines[0]) > 1000
    assert not lines[0] & lines[1]


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
@pytest.mark.parametrize("draw", [scenes.draw_scene, snippets.draw_snippet])
def test_no_scene_and_no_snippet_is_in_two_parts(draw, one, other):
    """What means the same is in one part, in whatever words."""
    drawn = [{draw(random, split) for _ in range(3000)} for random, split in ((Random(0), one), (Random(1), other))]
    assert not drawn[0] & drawn[1]


def test_near_misses_stay_in_their_part_and_differ():
    """A scene and its near miss are of one part, and not the same."""
    random = Random(0)
    for split in SPLITS:
        for _ in range(100):
            scene, other = scenes.draw_near_misses(random, split)
            assert scene != other
            assert scene.split == other.split == split


@pytest.mark.parametrize("name", SET_NAMES)
def test_a_set_is_the_same_each_time(name):
    """Equal arguments give equal queries and documents; another part gives others."""
    first, second, other = (search_set(name, split, size=20) for split in ("test", "test", "validation"))
    assert first == second
    assert not set(first.queries) & set(other.queries)
    assert len(first.queries) == len(first.documents) == len(set(first.queries)) == 20


def test_every_word_of_a_page_is_where_it_is_said_to_be():
    """A word's box holds ink, and the label of the cell that it fills is its own."""
    page = pages.draw_page(Random(0), "train")
    picture, printed = pages.render(page, Random(0), pages.SIZES[0])
    pixels = np.asarray(picture)
    assert [word.word for word in printed if word.word in WORDS]
    for word in printed:
        left, top, right, bottom = map(round, word.box)
        assert np.ptp(pixels[top:bottom, left:right]) > 60
    assert all(side % CELL == 0 for size in (*pages.SIZES, *scenes.SIZES) for side in size)


def test_ndcg():
    """First place is worth 1, second 1 / log2(3), sixth nothing, and a tie is no success."""
    scores = np.eye(6, dtype=np.float32)
    scores[1, 0] = 2
    scores[2, :] = [5, 4, 0, 3, 2, 1]
    scores[3, 4] = 1
    found = ndcg(scores, ["en", "en", "de", "de", "de", "de"])
    assert found["en"] == pytest.approx((1 + 1 / np.log2(3)) / 2, abs=1e-4)
    assert found["de"] == pytest.approx((0 + 1 / np.log2(3) + 2) / 4, abs=1e-4)


def test_what_is_related_is_no_wrong_answer():
    """A document that answers a query, too, costs nothing however high it scores; one that does not costs much."""
    scores = torch.tensor([[9.0, 20.0], [-9.0, 9.0]])
    answers = torch.arange(2)
    related = torch.tensor([[True, True], [False, True]])
    assert contrast(scores, answers, related) < 1e-3
    assert contrast(scores, answers, torch.eye(2, dtype=torch.bool)) > 5


def test_late_scores_do_not_count_padding():
    """Padded queries and documents score as they do alone."""
    draw = torch.Generator().manual_seed(0)
    query, documents = torch.randn(1, 4, 8, generator=draw), torch.randn(2, 6, 8, generator=draw)
    query[:, 2:], documents[0, 3:] = 100, 100
    both = late_scores(query, torch.tensor([2]), documents, torch.tensor([3, 6]))
    for index, length in enumerate((3, 6)):
        alone = score(query[0, :2].numpy(), [documents[index, :length].numpy()]) / 2
        assert both[0, index].item() == pytest.approx(alone[0], rel=1e-5)


@pytest.mark.parametrize("task", get_args(Task))
@torch.inference_mode()
def test_training_computes_what_vllm_serves(engine, miniature, task):
    """The plain torch model and vLLM give equal vectors of texts and pictures, by each adapter."""
    model, tokenizer = miniature
    encoder = JinaEncoder(engine, task=task)
    steps = Steps(tokenizer, size=0, seed=0)
    page, _ = pages.render(pages.draw_page(Random(0), "test"), Random(0))
    scene = scenes.paint(scenes.draw_scene(Random(0), "test"), Random(0))
    for item in (page, scene, "Wo lagern rote Äpfel? 左に星が二つ"):
        if isinstance(item, str):
            prompt = steps.texts([item], "document", task)
            states = model.text_states(prompt.token_ids[:, : prompt.lengths[0]], task)
            content = states
        else:
            pixels = torch.from_numpy(np.array(item))
            states, span, _ = model.image_states(pixels.reshape(1, *pixels.shape[:2], -1), task)
            content = states[:, span]
        (dense,), (tokens,) = encoder.embed_both([item], role="document")
        ours = torch.nn.functional.normalize(dense_vectors(content)[0], dim=0)
        assert np.linalg.norm(ours.numpy() - dense) < 1e-4
        np.testing.assert_allclose(model.token_vectors(states, task)[0].numpy(), tokens.vectors, atol=1e-4)


@pytest.fixture(scope="module")
def qualities(demo_vllm):
    """Return a function for a small test set's nDCG@5, dense and by late interaction. Each is computed once."""

    @cache
    def qualities(name, task, dimensions=None):
        chosen = search_set(name, "test", size=SIZE)
        encoder = JinaEncoder(demo_vllm, task=task, dimensions=dimensions)
        documents, document_tokens = encoder.embed_both(chosen.documents, role="document")
        queries, query_tokens = encoder.embed_both(chosen.queries, role="query")
        vectors = [tokens.vectors for tokens in document_tokens]
        late = np.stack([score(tokens.vectors, vectors) for tokens in query_tokens])
        return ndcg(queries @ documents.T, chosen.languages), ndcg(late, chosen.languages)

    return qualities


@pytest.mark.parametrize(
    ("name", "task", "dense", "late"),
    [
        ("scenes", "retrieval", 0.9, 0.9),
        ("pages", "retrieval", 0.75, 0.9),
        ("page texts", "retrieval", 0.75, 0.9),
        ("captions", "text-matching", 0.9, 0.9),
        ("snippets", "code", 0.9, 0.9),
    ],
)
def test_it_retrieves(qualities, name, task, dense, late):
    """Each set is searched well by its own task, in every language; the bounds are far below what was measured."""
    by_dense, by_late = qualities(name, task)
    assert by_dense["all"] > dense
    assert by_late["all"] > late
    assert min(by_dense.values()) > dense - 0.15


@pytest.mark.parametrize(
    ("name", "task"), [("scenes", "retrieval"), ("captions", "text-matching"), ("snippets", "code")]
)
def test_each_task_is_best_at_its_own(qualities, name, task):
    """No other adapter does as well on a task's own test set, dense and by late interaction taken together."""
    own = sum(figures["all"] for figures in qualities(name, task))
    for other in set(get_args(Task)) - {task}:
        assert own > sum(figures["all"] for figures in qualities(name, other))


def test_a_quarter_of_the_dimensions_searches_nearly_as_well(qualities):
    """Matryoshka: 64 of 256 values keep most of the quality."""
    whole, _ = qualities("scenes", "retrieval")
    quarter, _ = qualities("scenes", "retrieval", dimensions=64)
    assert quarter["all"] > 0.9 * whole["all"]


def test_the_shipped_files():
    """They are small, and the corpus is the one that the generator makes."""
    assert sum(path.stat().st_size for path in BASE_REPO.rglob("*") if path.is_file()) <= MOST_BYTES
    corpus = demo_corpus()
    made = [query for name in ("pages", "scenes") for query in search_set(name, "test", size=24, seed=1).queries]
    assert [query.text for query in corpus.queries] == made
    assert demo_checkpoint().is_dir()
