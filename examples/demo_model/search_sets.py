"""What the model is judged by: queries, documents, and which document answers which query."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pages
import scenes
import snippets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from PIL import Image
    from scenes import Language
    from splits import Split

    from jina_vllm_integrations.types import Task

SetName = Literal["scenes", "pages", "page texts", "captions", "snippets"]
SET_NAMES: tuple[SetName, ...] = get_args(SetName)
# Half of the queries on the English pages are English.
_PAGE_LANGUAGES: tuple[Language, ...] = ("en", "de", "en", "ja", "en", "es")
_CUT = 5

Document: TypeAlias = "str | Image.Image"


@dataclass(frozen=True, kw_only=True)
class SearchSet:
    """Queries and documents; document i is the one that answers query i.

    Attributes:
        name: What it is about.
        task: The task that it tests.
        queries: What is asked.
        languages: Of each query.
        documents: What is searched.
    """

    name: SetName
    task: Task
    queries: list[str]
    languages: list[str]
    documents: list[Document]


def search_set(name: SetName, split: Split, *, size: int = 500, seed: int = 0) -> SearchSet:
    """Make up a set of a part of the data. Equal arguments give an equal set."""
    random = Random(f"{name} {split} {seed}")  # no other part, and no other set, draws from this seed
    make, task = _SETS[name]
    queries, languages, documents = zip(*islice(make(random, split), size), strict=True)
    return SearchSet(name=name, task=task, queries=[*queries], languages=[*languages], documents=[*documents])


def ndcg(scores: npt.NDArray[np.float32], languages: Sequence[str]) -> dict[str, float]:
    """Return the mean nDCG@5 of all queries, and of those in each language.

    Args:
        scores: Document i answers query i, and no other does. *Shape:* ``(n, n)``.
        languages: Of each query.
    """
    own = np.diag(scores)[:, None]
    ranks = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1)  # of equals, ours is the last
    gains = np.where(ranks < _CUT, 1 / np.log2(ranks + 2), 0.0)
    found = {"all": gains.mean()}
    for language in sorted(set(languages)):
        found[language] = gains[[language == other for other in languages]].mean()
    return {name: round(float(value), 4) for name, value in found.items()}


_Triples: TypeAlias = "Iterator[tuple[str, str, Document]]"


def _scenes(random: Random, split: Split) -> _Triples:
    """Yield scenes, every second of which differs from the one before it in one thing."""
    for scene, language in zip(_distinct_scenes(random, split), cycle(scenes.LANGUAGES), strict=False):
        yield scenes.caption(scene, language, random), language, scenes.paint(scene, random)


def _captions(random: Random, split: Split) -> _Triples:
    """Yield captions, and the same scenes' captions in another language."""
    for scene, language in zip(_distinct_scenes(random, split), cycle(scenes.LANGUAGES), strict=False):
        other = random.choice([name for name in scenes.LANGUAGES if name != language])
        yield scenes.caption(scene, language, random), language, scenes.caption(scene, other, random)


def _pages(random: Random, split: Split) -> _Triples:
    for page, query, language in _asked_pages(random, split):
        yield query, language, pages.render(page, random)[0]


def _page_texts(random: Random, split: Split) -> _Triples:
    for page, query, language in _asked_pages(random, split):
        yield query, language, "\n".join(page.lines)


def _snippets(random: Random, split: Split) -> _Triples:
    seen = set()
    while True:
        snippet = snippets.draw_snippet(random, split)
        if snippet not in seen:
            seen.add(snippet)
            yield snippets.description(snippet, random), "en", snippets.source(snippet, random)


def _distinct_scenes(random: Random, split: Split) -> Iterator[scenes.Scene]:
    seen: set[scenes.Scene] = set()
    while True:
        pair = scenes.draw_near_misses(random, split)
        if not seen & {*pair}:
            seen |= {*pair}
            yield from pair


def _asked_pages(random: Random, split: Split) -> Iterator[tuple[pages.Page, str, Language]]:
    """Yield pages and a query for each that no other page answers."""
    facts: set[pages.Fact] = set()
    asked: set[pages.Fact] = set()
    for language in cycle(_PAGE_LANGUAGES):
        while True:
            page = pages.draw_page(random, split)
            answers = pages.facts(page)
            free = sorted(answers - facts, key=str)
            if free and not answers & asked:
                break
        fact = random.choice(free)
        facts |= answers
        asked.add(fact)
        yield page, pages.ask(fact, language, random), language


_SETS: dict[SetName, tuple[Callable[[Random, Split], _Triples], Task]] = {
    "scenes": (_scenes, "retrieval"),
    "pages": (_pages, "retrieval"),
    "page texts": (_page_texts, "retrieval"),
    "captions": (_captions, "text-matching"),
    "snippets": (_snippets, "code"),
}
