"""The README and docs/: figures are those of the raw results, tables say where they are from, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

import render_docs

ROOT = Path(__file__).parent.parent
RENDERED = dict(render_docs.rendered())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What is read instead of a page where there is a template: there, figures are still expressions.
WRITTEN = [render_docs.TEMPLATES / f"{page.name}.jinja" if page in RENDERED else page for page in PAGES]
NO_TEXT = re.compile(r"```.*?```|`[^`\n]*`|\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", flags=re.DOTALL)
MEASURED = re.compile(
    r"""(?<![\w.])\d[\d,.]*
    (?:
        \s*(?:pages?|texts?|tokens?|docs?|items?|queries)?/s\b
        | \s*(?:ms|s|seconds?|minutes?|hours?|[KMG]i?B|T?FLOPs?)\b
        | \s*%
        | \s(?:times|pages\sa\ssecond|texts\sa\ssecond|tokens\sa\ssecond|items\sa\ssecond)\b
    )
    | \b[01]\.\d{3,}
    | (?:nDCG@5|cosine)\D{0,30}\s[01]\.\d
    | →\s*[\d,.]+""",
    flags=re.VERBOSE,
)
SOURCE = re.compile(r"`(?:\w+\.py|make eval|jina-vllm bench)`")
DEVICE = re.compile(r"\bCPU\b|\bH[12]00s?\b")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
HOUSE = re.compile(r"```text\n(errors .*?)```", flags=re.DOTALL)
MOST_WORDS = 25


def by_name(page):
    """Return a test's name for a page."""
    return page.name


def rows(page):
    """Yield the rows of each table that has a source column, header and ruler left out."""
    header = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            header = ""
        elif not header:
            header = line
        elif header.endswith("measured by |") and not line.startswith("|---"):
            yield line


def anchors(page):
    """Return what a link may name in a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", RENDERED, ids=by_name)
def test_a_page_is_what_its_template_says(page):
    """After a new measurement, or a change of a template, `make docs` writes the pages anew."""
    assert page.read_text(encoding="utf-8") == RENDERED[page], "run `make docs`"


@pytest.mark.parametrize("page", WRITTEN, ids=by_name)
def test_no_measured_figure_is_typed_by_hand(page):
    """A number with a unit is read from a file of results; code, and what it prints, is as it is."""
    assert MEASURED.findall(NO_TEXT.sub("", page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("figure", ["60 pages/s", "8 ms", "4.5 minutes", "3.3 GiB", "62 %", "94 times", "0.845"])
def test_what_counts_as_a_measured_figure(figure):
    """The pattern knows the units that these pages speak in, and leaves conditions alone."""
    assert MEASURED.search(f"It is {figure}.")
    assert not MEASURED.search("500 queries over 2,000 documents of 512 tokens, vLLM 0.26 to 0.33, nDCG@5, Python 3.11")


@pytest.mark.parametrize("name", ["options", "quality", "speed"])
def test_a_row_of_figures_says_where_it_is_from(name):
    """Each names the script that measured it and the device."""
    found = list(rows(ROOT / "docs" / f"{name}.md"))
    assert found
    for row in found:
        assert SOURCE.search(row), row
        assert DEVICE.search(row), row


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_cells_are_short(page):
    """A cell of a table has a sentence or two."""
    tables = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [cell for line in tables for cell in line.split(" | ") if len(cell.split()) > MOST_WORDS] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_somewhere(page):
    """Every file that a page names is there, and every heading."""
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_house_has_one_picture():
    """The README and CONTRIBUTING show the same layers."""
    readme, contributing = (HOUSE.findall((ROOT / name).read_text()) for name in ("README.md", "CONTRIBUTING.md"))
    assert len(readme) == 1
    assert readme == contributing


def test_a_name_that_no_result_has_is_an_error():
    """A page does not show an empty cell where a figure was renamed."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    environment.globals["result"] = render_docs.result
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string('{{ result("gpu_speed").choices["no such choice"].pages }}').render()


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [(60.3, 2, "60"), (1408.6, 2, "1,400"), (0.618, 2, "0.62"), (99.7, 2, "100"), (9.97, 2, "10"), (654.5, 3, "654")],
)
def test_figures_have_two_significant_digits(value, digits, written):
    """Or as many as are asked for; what is rounded up to a new digit does not gain one."""
    assert render_docs.figure(value, digits) == written


@pytest.mark.parametrize(
    ("value", "written"), [(0.97238, "0.972"), (0.999858, "0.99986"), (1 - 1.2e-7, "1 \N{MINUS SIGN} 1e-7"), (1.0, "1")]
)
def test_cosines_near_1_can_be_told_apart(value, written):
    """The nearer, the more decimals."""
    assert render_docs.cosine(value) == written
