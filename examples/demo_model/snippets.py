"""Snippets: tiny Python functions, and what each does in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from splits import Split, split_of

if TYPE_CHECKING:
    from random import Random

# What is kept of a list of numbers: the condition in Python, and ways to say it.
_FILTERS = {
    "{x} > {n}": ("greater than {n}", "above {n}", "that exceed {n}"),
    "{x} < {n}": ("less than {n}", "below {n}", "smaller than {n}"),
    "{x} % {n} == 0": ("divisible by {n}", "that are multiples of {n}"),
    "{x} != {n}": ("other than {n}", "that differ from {n}", "not equal to {n}"),
}
# What is done to each.
_MAPS = {
    "{x}": ("",),
    "{x} * {m}": ("times {m}", "multiplied by {m}"),
    "{x} + {m}": ("plus {m}", "increased by {m}"),
    "{x} - {m}": ("minus {m}", "reduced by {m}"),
    "{x} ** 2": ("squared", "raised to the second power"),
    "abs({x})": ("without their sign", "as absolute values"),
}
# What is made of the results.
_ENDS = {
    "sum": ("the sum of", "the total of"),
    "max": ("the largest of", "the maximum of"),
    "min": ("the smallest of", "the minimum of"),
    "sorted": ("a sorted list of", "an ordered list of"),
    "list": ("a list of", "the list of all"),
    "len": ("the number of", "the count of"),
}
_VARIABLES = ("x", "n", "value", "item")
_LISTS = ("xs", "numbers", "values", "items", "data")
_NAMES = ("f", "compute", "result", "process", "run", "solve")


@dataclass(frozen=True)
class Snippet:
    """What a function does to a list of numbers."""

    keep: str
    limit: int
    change: str
    amount: int
    end: str

    @property
    def split(self) -> Split:
        """The part of the data that it belongs to, with all its spellings and descriptions."""
        return split_of(repr(self))


def draw_snippet(random: Random, split: Split) -> Snippet:
    """Make up a snippet of a part of the data."""
    while True:
        change = random.choice(list(_MAPS))
        amount = random.randrange(2, 30) if "{m}" in change else 0
        snippet = Snippet(
            random.choice(list(_FILTERS)), random.randrange(2, 30), change, amount, random.choice(list(_ENDS))
        )
        if snippet.split == split:
            return snippet


def source(snippet: Snippet, random: Random) -> str:
    """Write a snippet in Python, in one of several ways."""
    x, xs, name = random.choice(_VARIABLES), random.choice(_LISTS), random.choice(_NAMES)
    keep, change = snippet.keep.format(x=x, n=snippet.limit), snippet.change.format(x=x, m=snippet.amount)
    match random.randrange(3):
        case 0:
            made = f"[{change} for {x} in {xs} if {keep}]"
            return f"def {name}({xs}):\n    return {made if snippet.end == 'list' else f'{snippet.end}({made})'}"
        case 1:
            made = "out" if snippet.end == "list" else f"{snippet.end}(out)"
            return (
                f"def {name}({xs}):\n    out = []\n    for {x} in {xs}:\n        if {keep}:\n"
                f"            out.append({change})\n    return {made}"
            )
        case _:
            made = f"list(map(lambda {x}: {change}, filter(lambda {x}: {keep}, {xs})))"
            return f"{name} = lambda {xs}: {snippet.end}({made})"


def description(snippet: Snippet, random: Random) -> str:
    """Say what a snippet does, in one of several ways."""
    kept = random.choice(_FILTERS[snippet.keep]).format(n=snippet.limit)
    changed = random.choice(_MAPS[snippet.change]).format(m=snippet.amount)
    numbers = random.choice(("numbers", "values", "elements"))
    what = f"{random.choice(_ENDS[snippet.end])} {numbers} {kept}"
    return random.choice(("return ", "compute ", "")) + (f"{what}, each {changed}" if changed else what)
