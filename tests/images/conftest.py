"""A picture, and its file."""

from __future__ import annotations

import pytest

from pictures import noise


@pytest.fixture
def picture():
    """A small image without symmetry."""
    return noise(7, 5)


@pytest.fixture
def png(picture, tmp_path):
    """The same image as a file."""
    path = tmp_path / "picture.png"
    picture.save(path)
    return path
