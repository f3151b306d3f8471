"""Of a file with several pages only the first is an image, and that is said."""

from __future__ import annotations

import logging

import pytest
from PIL import Image

from image_sources import RED, pixels
from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.images import first_pages, handles, inspect
from jina_vllm_integrations.testing import FakeEngine
from page_files import plain, tiff
from pictures import encoded, noise

SMALL_COPY = (Image.new("RGB", (4, 3), "red"), {254: 1})


@pytest.fixture
def warnings(caplog, monkeypatch):
    """Return the log of a process that has not warned yet."""
    monkeypatch.setattr(handles, "FIRST_PAGES", first_pages.FirstPages())
    with caplog.at_level(logging.WARNING):
        yield caplog


def test_embedding_a_scan_of_several_pages_warns_once(tmp_path, warnings):
    """With the file's name and how its pages are read, whichever comes first."""
    path = tiff(tmp_path / "scan.tif", [plain("red"), plain("lime")])
    encoder = JinaEncoder(FakeEngine(), task="retrieval")

    assert len(encoder.embed([path, path.read_bytes()], role="document")) == 2

    (warning,) = warnings.messages
    assert f"{str(path)!r} has several pages" in warning
    assert "PageReader" in warning
    assert "PageImageLoader" in warning


def test_what_was_fetched_warns_as_well(tmp_path, warnings):
    """A handle that has its content later is looked at then."""
    path = tmp_path / "scan.tif"
    tiff(path, [plain("red")])
    handle = inspect(path)
    tiff(path, [plain("red"), plain("lime")])

    handle.pinned()

    assert len(warnings.messages) == 1


def test_one_page_warns_of_nothing(tmp_path, warnings):
    """Nor do a smaller copy beside it, or an animation."""
    inspect(encoded(noise(9, 9), "TIFF")).load()
    inspect(tiff(tmp_path / "a.tif", [plain("red"), SMALL_COPY])).load()
    inspect(encoded(noise(9, 9), "GIF", save_all=True, append_images=[noise(9, 9).rotate(90)])).load()

    assert warnings.messages == []


def test_damage_behind_the_first_page_is_no_matter(tmp_path, warnings):
    """It is the first that counts."""
    path = tiff(tmp_path / "scan.tif", [plain("red")])
    content = bytearray(path.read_bytes())
    directory = int.from_bytes(content[4:8], "little")
    following = directory + 2 + 12 * int.from_bytes(content[directory : directory + 2], "little")
    content[following : following + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(content)

    assert set(pixels(path)) == {RED}
    assert warnings.messages == []
