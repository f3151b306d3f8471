"""Endless batches of training data: queries, documents of one shape, and which of them belong together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING, Any

import lexicon
import numpy as np
import pages
import scenes
import snippets
import torch
from torch.utils.data import IterableDataset, get_worker_info

from jina_vllm_integrations.model.prompts import text_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Sequence

    from tokenizers import Tokenizer

    from jina_vllm_integrations.types import Role, Task

CELL = 28
QUERIES_A_PAGE = 2
_PAD = 12  # to a multiple of this: few shapes
# Pages are what takes longest to learn: they are in every step, and these by turns.
_BESIDE_PAGES = ("scenes", "captions", "scenes", "snippets", "scenes", "page texts")
_PAGE_LANGUAGES: tuple[scenes.Language, ...] = ("en", "en", "en", "de", "ja", "es")
# What may stand in a cell: nothing, a number, a word. All numbers are one.
_NUMBER = 1
WORDS = (
    "",
    "0",
    *sorted(
        {
            *(word.en for word in (*lexicon.ADJECTIVES, *lexicon.NOUNS)),
            *(word.rstrip(",") for place in lexicon.PLACES for word in place.split()),
            *pages.FIXED_WORDS,
        }
    ),
)
_WORD_ID = {word: index for index, word in enumerate(WORDS)}


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Prompts, padded at their ends.

    Attributes:
        token_ids: *Shape:* ``(n, n_tokens)``, int64.
        lengths: *Shape:* ``(n,)``, int64.
    """

    token_ids: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One contrastive problem.

    Attributes:
        name: Of what it is made.
        task: Whose adapter learns from it.
        queries: What is searched for.
        documents: Texts, or pictures. *Shape:* ``(n_documents, height, width, channels)``, uint8.
        answers: The document of each query. *Shape:* ``(n_queries,)``, int64.
        related: Which documents answer which queries, one or more each. *Shape:* ``(n_queries, n_documents)``, bool.
        words: What stands in each cell of a page, as positions in `WORDS`. *Shape:* ``(n_documents, cells)``, int64.
    """

    name: str
    task: Task
    queries: Texts
    documents: Texts | torch.Tensor
    answers: torch.Tensor
    related: torch.Tensor
    words: torch.Tensor | None = None


class Steps(IterableDataset[list[Batch]]):
    """The batches of each training step, without end. Workers draw from different seeds.

    Args:
        tokenizer: Makes the prompts.
        size: Documents a batch.
        seed: Of everything.
    """

    def __init__(self, tokenizer: Tokenizer, *, size: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[list[Batch]]:
        worker = get_worker_info()
        number = worker.id if worker else 0
        random = Random(f"train {self.seed} {number}")
        for beside in islice(cycle(_BESIDE_PAGES), number % len(_BESIDE_PAGES), None):
            yield [self.batch(name, random) for name in ("pages", beside)]

    def batch(self, name: str, random: Random) -> Batch:
        """Make up a batch of training data."""
        return _MAKERS[name](self, random)

    def texts(self, texts: Sequence[str], role: Role, task: Task) -> Texts:
        """Make padded prompts."""
        prompts = [text_prompt(text, role=role, task=task) for text in texts]
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(prompts, add_special_tokens=False)]
        lengths = [len(row) for row in ids]
        padded = np.zeros((len(ids), -(-max(lengths) // _PAD) * _PAD), dtype=np.int64)
        for row, tokens in zip(padded, ids, strict=True):
            row[: len(tokens)] = tokens
        return Texts(token_ids=torch.from_numpy(padded), lengths=torch.tensor(lengths))


def to_device(value: Any, device: torch.device) -> Any:
    """Return a batch, or a part of one, whose tensors are on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if not isinstance(value, Batch | Texts):
        return value
    return type(value)(**{field.name: to_device(getattr(value, field.name), device) for field in fields(value)})


def _pages(steps: Steps, random: Random) -> Batch:
    size = random.choice(pages.SIZES)
    drawn = [pages.draw_page(random, "train") for _ in range(steps.size)]
    rendered = [pages.render(page, random, size) for page in drawn]
    pixels = np.stack([np.asarray(picture) for picture, _ in rendered])[..., None]
    words = np.stack([_cell_words(printed, *size) for _, printed in rendered])
    return Batch(
        name="pages",
        task="retrieval",
        documents=torch.from_numpy(pixels),
        words=torch.from_numpy(words),
        **_questions(steps, random, drawn),
    )


def _page_texts(steps: Steps, random: Random) -> Batch:
    drawn = [pages.draw_page(random, "train") for _ in range(steps.size)]
    documents = steps.texts(["\n".join(page.lines) for page in drawn], "document", "retrieval")
    return Batch(name="page texts", task="retrieval", documents=documents, **_questions(steps, random, drawn))


def _questions(steps: Steps, random: Random, drawn: Sequence[pages.Page]) -> dict[str, object]:
    """Ask about rows of each page, with or without naming its place."""
    asked = [
        (row.topic, row.thing, random.choice((None, page.place)))
        for page in drawn
        for row in random.sample(page.rows, QUERIES_A_PAGE)
    ]
    queries = [pages.ask(fact, random.choice(_PAGE_LANGUAGES), random) for fact in asked]
    return {
        "queries": steps.texts(queries, "query", "retrieval"),
        "answers": torch.arange(len(drawn)).repeat_interleave(QUERIES_A_PAGE),
        "related": _related(asked, [pages.facts(page) for page in drawn]),
    }


def _scenes(steps: Steps, random: Random) -> Batch:
    size = random.choice(scenes.SIZES)
    drawn = _scenes_and_near_misses(steps.size, random)
    pixels = np.stack([np.asarray(scenes.paint(scene, random, size)) for scene in drawn])
    captions = [scenes.caption(scene, random.choice(scenes.LANGUAGES), random) for scene in drawn]
    queries = steps.texts(captions, "query", "retrieval")
    return Batch(name="scenes", task="retrieval", queries=queries, documents=torch.from_numpy(pixels), **_pairs(drawn))


def _captions(steps: Steps, random: Random) -> Batch:
    drawn = _scenes_and_near_misses(steps.size, random)
    queries, documents = [], []
    for scene in drawn:
        one, other = random.sample(scenes.LANGUAGES, 2)
        queries.append(scenes.caption(scene, one, random))
        documents.append(scenes.caption(scene, other, random))
    return Batch(
        name="captions",
        task="text-matching",
        queries=steps.texts(queries, "query", "text-matching"),
        documents=steps.texts(documents, "document", "text-matching"),
        **_pairs(drawn),
    )


def _snippets(steps: Steps, random: Random) -> Batch:
    drawn = [snippets.draw_snippet(random, "train") for _ in range(steps.size)]
    return Batch(
        name="snippets",
        task="code",
        queries=steps.texts([snippets.description(snippet, random) for snippet in drawn], "query", "code"),
        documents=steps.texts([snippets.source(snippet, random) for snippet in drawn], "document", "code"),
        **_pairs(drawn),
    )


def _scenes_and_near_misses(size: int, random: Random) -> list[scenes.Scene]:
    return [scene for _ in range(size // 2) for scene in scenes.draw_near_misses(random, "train")]


def _pairs(meanings: Sequence[object]) -> dict[str, torch.Tensor]:
    """Pair each query with its document. Those that mean the same are related, too."""
    return {"answers": torch.arange(len(meanings)), "related": _related(meanings, [{meaning} for meaning in meanings])}


def _related(asked: Sequence[Hashable], known: Sequence[Collection[Hashable]]) -> torch.Tensor:
    """Say which documents know what a query asks for. *Shape:* ``(len(asked), len(known))``, bool."""
    homes = defaultdict(list)
    for document, facts in enumerate(known):
        for fact in facts:
            homes[fact].append(document)
    related = torch.zeros(len(asked), len(known), dtype=torch.bool)
    for query, fact in enumerate(asked):
        related[query, homes[fact]] = True
    return related


def _cell_words(printed: Sequence[pages.Printed], width: int, height: int) -> np.ndarray:
    """Return the word that covers most of each cell."""
    words = np.zeros((height // CELL, width // CELL), dtype=np.int64)
    covered = np.zeros(words.shape)
    for word in printed:
        left, top, right, bottom = word.box
        word_id = _WORD_ID.get(word.word.rstrip(","), _NUMBER)
        for row in range(int(top // CELL), min(int(bottom // CELL) + 1, len(words))):
            down = min(bottom, (row + 1) * CELL) - max(top, row * CELL)
            for column in range(int(left // CELL), min(int(right // CELL) + 1, words.shape[1])):
                area = down * (min(right, (column + 1) * CELL) - max(left, column * CELL))
                if area > covered[row, column]:
                    covered[row, column] = area
                    words[row, column] = word_id
    return words.reshape(-1)


_MAKERS: dict[str, Callable[[Steps, Random], Batch]] = {
    "pages": _pages,
    "page texts": _page_texts,
    "scenes": _scenes,
    "captions": _captions,
    "snippets": _snippets,
}
