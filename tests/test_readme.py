"""The README's snippets run, on the session's vLLM."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from engine_options import ENGINE_OPTIONS
from jina_vllm_integrations import JinaEncoder

README = Path(__file__).parent.parent / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
ENGINE = re.compile(r'InProcessEngine\("jinaai/[^"]*", max_model_len=\d+\)')


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Change to a folder with the files that the snippets name."""
    (tmp_path / "scans").mkdir()
    for name in ("invoice.png", "chart.png", "scans/1.png", "scans/2.png"):
        Image.effect_noise((120, 90), 40).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet(snippet, vllm_engine, checkpoint, workplace):
    """A snippet runs as printed, but for the checkpoint: the session's small one stands for the real model."""
    names = {"__name__": "__main__", "Path": Path, "encoder": JinaEncoder(vllm_engine, task="retrieval")}
    options = ", ".join(f"{name}={value!r}" for name, value in ENGINE_OPTIONS.items())
    exec(ENGINE.sub(f"InProcessEngine({str(checkpoint)!r}, {options})", snippet), names)  # noqa: S102


def test_there_are_snippets():
    """The README still has its snippets, and the first one makes an engine."""
    assert len(SNIPPETS) == 10
    assert ENGINE.search(SNIPPETS[0])
