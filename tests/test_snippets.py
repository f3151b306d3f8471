"""What the README and the pages in docs/ show is so: snippets run, on the session's vLLM, and commands print it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations.cli import main
from page_files import REPORT
from pdf_files import pdf

ROOT = Path(__file__).parent.parent
SNIPPET = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL_PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = [page for page in ALL_PAGES if SNIPPET.search(page.read_text(encoding="utf-8"))]
# The commands that the README shows with their output; `make demo` makes the environment first.
PRINTED = re.findall(
    r"```console\n\$ (?:make|\S*jina-vllm) ([^\n]*)\n```\n\n```text\n(.*?)```", README, flags=re.DOTALL
)
ENGINE = re.compile(r'InProcessEngine\("[^"]+", max_model_len=\d+\)')
ADAPTER = re.compile(r'model="\./[^"]+"')


def snippets(page, checkpoint):
    """Yield each snippet, compiled; an error in it names the page and the line."""
    text = page.read_text(encoding="utf-8")
    options = ", ".join(f"{name}={value!r}" for name, value in ENGINE_OPTIONS.items())
    for match in SNIPPET.finditer(text):
        code = ENGINE.sub(f"InProcessEngine({str(checkpoint)!r}, {options})", match[1])
        code = ADAPTER.sub(f"model={str(checkpoint)!r}, engine_options=dict({options})", code)
        yield compile("\n" * text.count("\n", 0, match.start(1)) + code, str(page), "exec")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Change to a folder with the files that the snippets name."""
    (tmp_path / "scans").mkdir()
    for name in ("invoice.png", "chart.png", "scans/1.png", "scans/2.png"):
        Image.effect_noise((120, 90), 40).save(tmp_path / name)
    (tmp_path / "scans/report.pdf").write_bytes(pdf(*REPORT))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("vllm_engine", "demo_vllm", "workplace")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets(page, checkpoint):
    """A page's snippets run as printed, one after the other; a small checkpoint stands for the real model."""
    names = {"__name__": "__main__"}
    try:
        for snippet in snippets(page, checkpoint):
            exec(snippet, names)  # noqa: S102
    finally:
        if "engine" in names:
            names["engine"].close()


@pytest.mark.usefixtures("demo_vllm", "workplace")
@pytest.mark.parametrize(("command", "printed"), PRINTED, ids=["demo", "explain"])
def test_what_a_command_prints(command, printed, capsys):
    """The README shows lines of its output, in order; dots stand for the others."""
    assert main(shlex.split(command)) == 0
    lines = iter(capsys.readouterr().out.splitlines())
    assert [line for line in printed.splitlines() if line != "..." and line not in lines] == []


def test_the_pages_with_snippets():
    """Each page that shows code is run, and the README has the core and both frameworks."""
    assert [page.stem for page in PAGES] == ["README", "frameworks", "guide", "late-interaction", "options"]
    assert len(SNIPPET.findall(README)) == 3
