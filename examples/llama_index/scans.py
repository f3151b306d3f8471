"""The demo's printed pages as a PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from jina_vllm_integrations.demo import demo_corpus

if TYPE_CHECKING:
    from pathlib import Path

DPI = 72
"""At which a page of it has as many pixels as the picture that it was made of."""


def scanned(pdf: Path) -> Path:
    """Bind the demo's printed pages into a PDF, as a scanner does: without a text that could be searched."""
    first, *others = [
        Image.open(document.path).convert("RGB")
        for document in demo_corpus().documents
        if document.name.startswith("page")
    ]
    first.save(pdf, save_all=True, append_images=others, resolution=DPI)
    return pdf
