"""Writes README.md and pages of docs/ from docs/templates/, with figures out of the benchmarks' results.

No measured figure is typed by hand: a template names it (``result("gpu_speed").choices...``), a filter rounds it, and a
name that no file has is an error.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "docs" / "templates"
RESULTS = (ROOT / "examples" / "benchmarks" / "results", ROOT / "examples" / "demo_model" / "results")
NOTICE = "<!-- Made by `make docs` from docs/templates/{}: edit that. -->\n\n"
# Distances of a cosine from 1: what float32 cannot tell from 0; float32's own rounding; what bfloat16 does to vectors.
SAME, ROUNDING, NEAR = 1e-8, 1e-5, 1e-3


class Result(dict[str, Any]):
    """What one file of results holds, and where it was measured."""

    @property
    def device(self) -> str:
        """What computed, in a word."""
        machine = self.get("machine", {})
        named = self.get("device", machine.get("gpu", "") if isinstance(machine, dict) else machine)
        name = str(named["name"] if isinstance(named, dict) else named)
        gpu = re.search(r"H\d00", name)
        return gpu[0] if gpu else "CPU"

    @property
    def script(self) -> str:
        """The command that measured, without its options."""
        command = self["command"].removeprefix("python examples/benchmarks/").split()
        return " ".join(command[: 2 if command[0] in {"make", "jina-vllm"} else 1])

    @property
    def source(self) -> str:
        """What a row of a table says of where its figures are from."""
        return f"`{self.script}`, {self.device}"


def result(name: str) -> Result:
    """Read a file of results."""
    (path,) = (folder / f"{name}.json" for folder in RESULTS if (folder / f"{name}.json").is_file())
    return Result(json.loads(path.read_text(encoding="utf-8")))


def figure(value: float, digits: int = 2) -> str:
    """Round to significant digits."""
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    decimals = digits - 1 - math.floor(math.log10(abs(round(value, decimals))))  # 99.7 is 100, not 100.0
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def percent(share: float, digits: int = 2) -> str:
    """Write a share of 1."""
    return f"{figure(100 * share, digits)} %"


def cosine(value: float) -> str:
    """Round to as many decimals as tell a cosine near 1 from others like it."""
    distance = 1 - value
    if distance <= SAME:
        return "1"
    if distance < ROUNDING:
        return f"1 \N{MINUS SIGN} {distance:.0e}".replace("e-0", "e-")
    return f"{value:.5f}" if distance < NEAR else f"{value:.3f}"


def ndcg(value: float) -> str:
    """Round a measure of quality to three decimals."""
    return f"{value:.3f}"


def spread(rounds: Sequence[float]) -> float:
    """How far apart the lowest and the highest round are, by their median."""
    return (max(rounds) - min(rounds)) / statistics.median(rounds)


def rendered() -> Iterator[tuple[Path, str]]:
    """Yield each page that has a template, and its text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown out of this repository
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["result"] = result
    environment.filters |= {
        "cosine": cosine,
        "figure": figure,
        "median": statistics.median,
        "ndcg": ndcg,
        "percent": percent,
        "spread": spread,
    }
    for template in sorted(TEMPLATES.glob("*.jinja")):
        page = template.name.removesuffix(".jinja")
        text = environment.get_template(template.name).render()
        yield (ROOT if page == "README.md" else ROOT / "docs") / page, NOTICE.format(template.name) + text


def main() -> None:
    """Write all pages that have a template."""
    for page, text in rendered():
        page.write_text(text, encoding="utf-8")
        print(f"docs: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
