"""What each half of a query of a text and an image brings, and how they are best weighed, with the demo checkpoint.

A query means one picture of four: the second has what its text says and not what its image shows, the third what its
image shows and not what its text says, the fourth neither. Scenes of two groups: the image shows one group, the text
names the other. Pages: the image is a print of a page's heading, the text asks for a row.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
sys.path.insert(0, str(Path(__file__).parents[1] / "demo_model"))

import numpy as np
import pages
import scenes
from recording import record

from jina_vllm_integrations import JinaEncoder, TextImageQuery
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.encoding.queries import embed_query
from jina_vllm_integrations.scoring import score_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL import Image
    from scenes import Group, Scene

    from jina_vllm_integrations.types import FloatArray

_CUT = 5


@dataclass(frozen=True, kw_only=True)
class Four:
    """A query, and four pictures, of which it means the first."""

    query: TextImageQuery
    pictures: list[Image.Image]


def scene_fours(random: Random) -> Iterator[Four]:
    """Yield scenes of two groups, of which both, one or none are those of the query."""
    for language in cycle(scenes.LANGUAGES):
        fours: list[tuple[Scene, ...]] = []
        while not fours:
            scene = scenes.draw_scene(random, "test")
            if len(scene.groups) == 1:
                continue
            shown, named = random.sample(scene.groups, 2)
            fours = [
                (scene, text_only, image_only, neither)
                for text_only in _changed(scene, shown)
                for image_only in _changed(scene, named)
                for neither in _changed(image_only, shown)
            ]
        yield Four(
            query=TextImageQuery(
                scenes.caption(scenes.Scene((named,)), language, random),
                scenes.paint(scenes.Scene((shown,)), random),
            ),
            pictures=[scenes.paint(each, random) for each in random.choice(fours)],
        )


def page_fours(random: Random) -> Iterator[Four]:
    """Yield pages of two headings with two sets of rows, all four of them."""
    for language in cycle(scenes.LANGUAGES):
        page = pages.draw_page(random, "test")
        other = pages.draw_page(random, "test")
        while other.rows[0].topic != page.rows[0].topic or other.place == page.place:
            other = pages.draw_page(random, "test")
        row = random.choice([row for row in page.rows if row.thing not in {row.thing for row in other.rows}])
        prints = (page, replace(page, title=other.title, place=other.place, date=other.date))
        others = (replace(other, title=page.title, place=page.place, date=page.date), other)
        yield Four(
            query=TextImageQuery(pages.ask((row.topic, row.thing, None), language, random), _heading(page, random)),
            pictures=[pages.render(each, random)[0] for each in (*prints, *others)],
        )


def _changed(scene: Scene, group: Group) -> list[Scene]:
    """Return the scenes of the test data in which a group has another shape and colour."""
    changed = [
        replace(group, shape=shape, colour=colour)
        for shape in scenes.SHAPES
        for colour in scenes.COLOURS
        if shape != group.shape and colour != group.colour
    ]
    others = (scenes.Scene(tuple(other if each == group else each for each in scene.groups)) for other in changed)
    return [other for other in others if other.split == "test"]


def _heading(page: pages.Page, random: Random) -> Image.Image:
    """Print a page anew, and cut off its heading."""
    picture, printed = pages.render(page, random)
    n_words = len(f"{page.title} {page.place} {page.date}".split())
    bottom = max(word.box[3] for word in printed[:n_words])
    return picture.crop((0, 0, picture.width, round(bottom) + 4))


def quality(scores: FloatArray) -> dict[str, float]:
    """Return how often the right picture is first, and nDCG@5.

    Args:
        scores: Picture 4 i is what query i means. *Shape:* ``(n, 4 n)``.
    """
    own = scores[np.arange(len(scores)), 4 * np.arange(len(scores))][:, None]
    ranks = (scores > own).sum(axis=1) + (scores == own).sum(axis=1) - 1  # of equals, ours is the last
    gains = np.where(ranks < _CUT, 1 / np.log2(ranks + 2), 0.0)
    return {"right picture first": round(float((ranks == 0).mean()), 4), "ndcg@5": round(float(gains.mean()), 4)}


def evaluate(encoder: JinaEncoder, fours: Sequence[Four]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the quality of each half alone and of both together, over the pictures of all fours."""
    dense, tokens = encoder.embed_both([picture for four in fours for picture in four.pictures], role="document")
    text, text_tokens = encoder.embed_both([four.query.text for four in fours], role="query")
    image, image_tokens = encoder.embed_both([four.query.image for four in fours], role="query")
    both, rows = zip(*(embed_query(encoder, four.query) for four in fours), strict=True)
    halves = zip(text_tokens, image_tokens, strict=True)
    alike = [np.concatenate([half.vectors for half in pair]) for pair in halves]
    return {
        "dense": {
            "the text alone": quality(text @ dense.T),
            "the image alone": quality(image @ dense.T),
            "both": quality(np.stack(both) @ dense.T),
        },
        "late interaction": {
            "the text alone": quality(score_many(text_tokens, tokens)),
            "the image alone": quality(score_many(image_tokens, tokens)),
            "both, all tokens alike": quality(score_many(alike, tokens)),
            "both, each half alike": quality(score_many(rows, tokens)),
        },
        "tokens a query": {
            "text": round(float(np.mean([len(each.vectors) for each in text_tokens])), 1),
            "image": round(float(np.mean([len(each.vectors) for each in image_tokens])), 1),
        },
    }


SETS: dict[str, Callable[[Random], Iterator[Four]]] = {"scenes": scene_fours, "pages": page_fours}


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100, help="queries a set, each with four pictures")
    size = parser.parse_args().size
    with demo_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        results = {name: evaluate(encoder, list(islice(make(Random(name)), size))) for name, make in SETS.items()}
    record("text_image_queries", {"queries": size, "pictures": 4 * size, "results": results})


if __name__ == "__main__":
    main()
