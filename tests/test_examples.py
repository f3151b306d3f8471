"""The numbered examples print what stands beside them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBERED = sorted(EXAMPLES.glob("*/[0-9]*.py"))


# LlamaIndex's workflows look at every attribute of an agent, pydantic's old ones too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning:inspect")
@pytest.mark.parametrize("example", NUMBERED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_example(example, demo_vllm, monkeypatch, capsys):
    """It runs as a user runs it, on the session's vLLM."""
    monkeypatch.syspath_prepend(example.parent)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out == example.with_suffix(".txt").read_text(encoding="utf-8")


def test_there_are_examples():
    """Four for LangChain, and the same four for LlamaIndex."""
    assert [path.parent.name for path in NUMBERED] == ["langchain"] * 4 + ["llama_index"] * 4
