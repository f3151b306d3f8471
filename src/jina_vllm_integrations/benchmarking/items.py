"""Items that are all different, so that nothing of them can be cached, made before the clock starts."""

from __future__ import annotations

import io
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from jina_vllm_integrations.benchmarking.workloads import Mixture, Pages, Texts
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.model.prompts import text_prompt
from jina_vllm_integrations.types import ImagePrompt, Item, Role

if TYPE_CHECKING:
    from jina_vllm_integrations.benchmarking.conditions import Conditions
    from jina_vllm_integrations.benchmarking.limits import Geometry
    from jina_vllm_integrations.encoding.encoder import JinaEncoder

# Short and common: most tokenizers have a token for each.
_WORDS = (
    *("about", "after", "again", "also", "back", "before", "between", "both", "city", "come", "day", "different"),
    *("down", "early", "end", "every", "family", "first", "found", "good", "great", "hand", "high", "house", "know"),
    *("large", "last", "life", "little", "long", "made", "many", "more", "name", "never", "new", "next", "night"),
    *("number", "often", "old", "only", "open", "order", "other", "over", "part", "people", "place", "point", "public"),
    *("right", "same", "school", "see", "small", "some", "state", "system", "their", "there", "thing", "three", "time"),
    *("under", "until", "very", "war", "was", "water", "way", "what", "when", "where", "while", "will", "without"),
    *("word", "work", "world", "would", "year"),
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPACES = 0.5
_TRIES = 1000
# Strokes are no multiple of JPEG's blocks, which would make a picture that decodes faster than any page.
_STROKE = (3, 4)
_INK = 0.4
# In strokes: a line of letters with the space below it, and its letters alone.
_LINE, _LETTERS_HIGH = 6, 4


@dataclass(frozen=True)
class Work:
    """What an item, or many, or those of a second, take.

    Attributes:
        items: How many.
        tokens: Of their prompts.
        operations: Floating-point operations; 0 where they are not counted.
    """

    items: float = 0
    tokens: float = 0
    operations: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.items + other.items, self.tokens + other.tokens, self.operations + other.operations)

    def per(self, seconds: float) -> Work:
        """Return the work of a second."""
        return Work(self.items / seconds, self.tokens / seconds, self.operations / seconds)


class _Maker(Protocol):
    work: Work

    def make(self, rng: np.random.Generator) -> Item:
        """Return an item, most likely another one each time."""


class Supply:
    """An iterator without end of items and their work. Threads may share it.

    Args:
        encoder: Whose tokenizer and limits apply.
        mixture: What the items are.
        conditions: Their role and format.
        geometry: Sizes of the model, where operations are to be counted.

    Raises:
        InputError: The encoder does not take such items.
        OptionError: There are no such items.
    """

    def __init__(
        self,
        encoder: JinaEncoder,
        mixture: Mixture,
        conditions: Conditions,
        geometry: Geometry | None = None,
    ) -> None:
        makers = {kind: _maker(encoder, kind, conditions, geometry) for kind in mixture.cycle()}
        self._makers = cycle([makers[kind] for kind in mixture.cycle()])
        self._seeds = np.random.SeedSequence()
        self._seen: set[int] = set()
        self._ready: deque[tuple[Item, Work]] = deque()
        self._lock = threading.Lock()
        self.n_made_late = 0

    def __iter__(self) -> Supply:
        return self

    def __next__(self) -> tuple[Item, Work]:
        with self._lock:
            if self._ready:
                return self._ready.popleft()
            self.n_made_late += 1
            maker = next(self._makers)
            return self._another(maker, maker.make(self._rng())), maker.work

    def prepare(self, count: int) -> None:
        """Make items until so many are ready, so that making them does not compete with embedding them."""
        with self._lock, ThreadPoolExecutor() as executor:
            makers = list(islice(self._makers, max(0, count - len(self._ready))))
            items = executor.map(lambda maker, rng: maker.make(rng), makers, [self._rng() for _ in makers])
            for maker, item in zip(makers, items, strict=True):
                self._ready.append((self._another(maker, item), maker.work))
            self.n_made_late = 0

    def take(self, count: int) -> tuple[list[Item], Work]:
        """Return items for one call, and their work together."""
        taken = list(islice(self, count))
        return [item for item, _ in taken], sum((work for _, work in taken), Work())

    def _rng(self) -> np.random.Generator:
        (child,) = self._seeds.spawn(1)
        return np.random.default_rng(child)

    def _another(self, maker: _Maker, item: Item) -> Item:
        """Return an item that was not there before: this one or a new one."""
        for _ in range(_TRIES):
            if hash(item) not in self._seen:
                self._seen.add(hash(item))
                return item
            item = maker.make(self._rng())
        raise OptionError(
            f"items must be different, and so small ones are soon all used: {item!r:.60}. Make larger ones."
        )


def _maker(encoder: JinaEncoder, kind: Texts | Pages, conditions: Conditions, geometry: Geometry | None) -> _Maker:
    if isinstance(kind, Texts):
        return _TextMaker(encoder, kind.tokens, conditions.role, geometry)
    return _PageMaker(encoder, kind, conditions, geometry)


class _TextMaker:
    def __init__(self, encoder: JinaEncoder, n_tokens: int, role: Role, geometry: Geometry | None) -> None:
        if n_tokens > encoder.engine.max_tokens:
            raise OptionError(
                f"the engine takes texts of up to {encoder.engine.max_tokens} tokens, got texts:{n_tokens}. "
                "Ask for shorter ones, or raise its max_model_len."
            )
        self._n_tokens = n_tokens
        self._tokenizer = encoder.engine.checkpoint.tokenizer
        self._prefix = text_prompt("", role=role, task=encoder.task)
        self._sizes = np.array([self._count(f"a {word}") - self._count("a") for word in _WORDS])
        self.work = Work(1, n_tokens, geometry.text_operations(n_tokens) if geometry else 0)
        self.make(np.random.default_rng())  # raises if there is no such text

    def make(self, rng: np.random.Generator) -> str:
        """Return a text: words that should fit, then letters, each kept if it does."""
        text, length = "", self._count("")
        for _ in range(_TRIES):
            if text and length == self._n_tokens:
                return text
            piece = self._words(rng, max(0, self._n_tokens - length)) or self._letter(rng)
            longer = (text + piece).lstrip()
            if (new_length := self._count(longer)) <= self._n_tokens:
                text, length = longer, new_length
        raise OptionError(
            f"a text must have room for its prefix {self._prefix!r} ({self._count('')} tokens) and something after it, "
            f"got {self._n_tokens} tokens. Ask for more."
        )

    def _words(self, rng: np.random.Generator, n_tokens: int) -> str:
        chosen = rng.integers(len(_WORDS), size=n_tokens)
        fitting = chosen[np.cumsum(self._sizes[chosen]) <= n_tokens]
        return "".join(f" {_WORDS[word]}" for word in fitting)

    def _letter(self, rng: np.random.Generator) -> str:
        # Alone or as a part of the word before it: a tokenizer may count either as nothing more, or as two.
        return (" " if rng.random() < _SPACES else "") + _LETTERS[rng.integers(len(_LETTERS))]

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(self._prefix + text, add_special_tokens=False).ids)


class _PageMaker:
    def __init__(self, encoder: JinaEncoder, kind: Pages, conditions: Conditions, geometry: Geometry | None) -> None:
        self._kind = kind
        self._format = conditions.image_format
        sample = self.make(np.random.default_rng())
        (request,) = encoder.requests([sample], role=conditions.role, output=conditions.output)
        assert isinstance(request.prompt, ImagePrompt)
        grid = encoder.engine.checkpoint.grid.of(kind.width, kind.height)
        n_tokens = len(request.prompt.token_ids) - 1 + grid[0] * grid[1]  # the placeholder becomes one token a cell
        self.work = Work(1, n_tokens, geometry.page_operations(n_tokens, grid) if geometry else 0)

    def make(self, rng: np.random.Generator) -> bytes:
        """Return a page with lines of strokes, in colours of its own."""
        size = self._kind.width, self._kind.height
        columns, rows = (-(-length // stroke) for length, stroke in zip(size, _STROKE, strict=True))
        strokes = rng.random((rows, columns)) < _INK
        strokes[np.arange(rows) % _LINE >= _LETTERS_HIGH] = False
        mask = Image.fromarray(strokes).resize((columns * _STROKE[0], rows * _STROKE[1])).crop((0, 0, *size))
        dark, light = (tuple(map(int, rng.integers(low, low + 64, 3))) for low in (0, 192))
        page = Image.new("RGB", size, light)
        page.paste(dark, mask=mask)
        file = io.BytesIO()
        page.save(file, format=self._format)
        return file.getvalue()
