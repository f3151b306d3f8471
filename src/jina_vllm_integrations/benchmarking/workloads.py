"""What is embedded, and how callers ask for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_count

_PART = re.compile(r"([1-9]\d*)?(?:texts:([1-9]\d*)|pages:([1-9]\d*)x([1-9]\d*))")
_BESIDE = "queries-beside:"


@dataclass(frozen=True)
class Texts:
    """Texts of exactly so many tokens, their prefix included, all different."""

    tokens: int

    def __str__(self) -> str:
        return f"texts:{self.tokens}"


@dataclass(frozen=True)
class Pages:
    """Pictures of so many pixels, words in lines, all different, as encoded bytes."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"pages:{self.width}x{self.height}"


@dataclass(frozen=True)
class Mixture:
    """Kinds of items in a ratio.

    Attributes:
        parts: How many of each kind, e.g. ``((4, Texts(128)), (1, Pages(784, 768)))``.
    """

    parts: tuple[tuple[int, Texts | Pages], ...]

    def cycle(self) -> list[Texts | Pages]:
        """Return the kinds of items that come again and again, spread evenly."""
        places = [((number + 0.5) / count, kind) for count, kind in self.parts for number in range(count)]
        return [kind for _, kind in sorted(places, key=lambda place: place[0])]

    def __str__(self) -> str:
        return "+".join(f"{count if count > 1 else ''}{kind}" for count, kind in self.parts)


@dataclass(frozen=True)
class Stream:
    """A stream without end, which keeps the engine full: how many items a second it can do."""

    mixture: Mixture

    def __str__(self) -> str:
        return f"{self.mixture}, stream"


@dataclass(frozen=True)
class Calls:
    """Callers that each wait for a batch before they send the next: how long a call takes.

    Attributes:
        mixture: What the batches are of, one cycle after the other.
        batch_size: Items a call.
        concurrency: How many callers there are.
    """

    mixture: Mixture
    batch_size: int = 1
    concurrency: int = 1

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size)
        check_count("concurrency", self.concurrency)

    def __str__(self) -> str:
        callers = f", {self.concurrency} callers" if self.concurrency > 1 else ""
        return f"{self.mixture}, batch {self.batch_size}{callers}"


@dataclass(frozen=True)
class QueriesBeside:
    """Short queries, each awaited before the next, while a stream of documents keeps the engine full.

    Attributes:
        mixture: What the stream is of. The speed is the stream's, the latency the queries'.
        query: What the queries are.
    """

    mixture: Mixture
    query: Texts = Texts(16)

    def __str__(self) -> str:
        return f"{_BESIDE}{self.mixture}"


Workload: TypeAlias = Stream | Calls | QueriesBeside


def parse_mixture(spec: str) -> Mixture:
    """Return the items that a specification names.

    Args:
        spec: ``texts:TOKENS`` or ``pages:WIDTHxHEIGHT``, or several joined by ``+`` with a count before each, e.g.
            ``4texts:128+1pages:784x768``.

    Raises:
        OptionError: It names none.
    """
    parts = []
    for part in spec.split("+"):
        found = _PART.fullmatch(part)
        if found is None:
            raise OptionError(
                f"a workload is of texts:TOKENS or pages:WIDTHxHEIGHT, several joined by '+', got {part!r}. "
                "Write e.g. texts:512, pages:784x768 or 4texts:128+1pages:784x768."
            )
        count, tokens, width, height = found.groups()
        parts.append((int(count or 1), Texts(int(tokens)) if tokens else Pages(int(width), int(height))))
    return Mixture(tuple(parts))


def parse_workload(spec: str, *, batch_size: int | None = None, concurrency: int | None = None) -> Workload:
    """Return the workload that a specification names.

    Args:
        spec: That of a `parse_mixture`, or one after ``queries-beside:``.
        batch_size: Items a call. With this or ``concurrency`` the workload is `Calls`, else a `Stream`.
        concurrency: How many callers.

    Raises:
        OptionError: There is no such workload, or it has neither batches nor callers.
    """
    is_calls = batch_size is not None or concurrency is not None
    if spec.startswith(_BESIDE):
        if is_calls:
            raise OptionError(f"{spec!r} has one caller of single queries. Leave batch size and concurrency out.")
        return QueriesBeside(parse_mixture(spec.removeprefix(_BESIDE)))
    mixture = parse_mixture(spec)
    if not is_calls:
        return Stream(mixture)
    given = {"batch_size": batch_size, "concurrency": concurrency}
    return Calls(mixture, **{name: value for name, value in given.items() if value is not None})


_TEXT, _PAGE = Texts(128), Pages(784, 768)

STANDARD: tuple[Calls, ...] = (
    Calls(Mixture(((1, _TEXT),)), batch_size=1),
    Calls(Mixture(((1, _TEXT),)), batch_size=16),
    Calls(Mixture(((1, _PAGE),)), batch_size=1),
    Calls(Mixture(((1, _PAGE),)), batch_size=8),
    Calls(Mixture(((4, _TEXT), (4, _PAGE))), batch_size=8),
)
"""What is measured where nothing else is asked for: a text and 16, a page and 8, and 4 of each in one call."""
