"""A folder of documents, and readers of it."""

from __future__ import annotations

import pytest

from jina_vllm_integrations.pages import PageReader
from pdf_files import pdf


@pytest.fixture
def image_folder(tmp_path):
    """Return where rendered pages go."""
    return tmp_path / "images"


@pytest.fixture
def make(image_folder):
    """Return a maker of readers that write images into the test's own folder, whose colours are exact."""
    return lambda **options: PageReader(**{"image_folder": image_folder, "image_format": "png", **options})


@pytest.fixture
def folder(tmp_path):
    """Return a folder for documents."""
    path = tmp_path / "documents"
    path.mkdir()
    return path


@pytest.fixture
def write(folder):
    """Return a function that writes a PDF and returns its path."""

    def write_pdf(name, *pages, **options):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pdf(*pages, **options))
        return folder / name

    return write_pdf
