"""Which images that metadata names may be read."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jina_vllm_integrations import ImageError, ImageNotFoundError
from jina_vllm_integrations.adapters.page_images import PageImages
from jina_vllm_integrations.images import inspect
from pictures import noise


def named(source, *roots):
    """Return what metadata names, where some folders are allowed."""
    return PageImages.of(keys=("image",), roots=roots, urls=False).named_by({"image": source})


@pytest.mark.parametrize("name", ["data", "DATA", "file"])
def test_a_file_that_is_called_as_a_scheme_is_a_file(tmp_path, monkeypatch, name):
    """What has no colon is no URI, so it must be inside an allowed folder like any other path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match="must be inside allowed_image_roots"):
        named(name)
    assert named(name, tmp_path).source.path == tmp_path.resolve() / name


@pytest.mark.parametrize("uri", ["data:image/png;base64,AAAA", "DATA:,"])
def test_a_data_uri_needs_no_folder(uri):
    """It holds its image itself."""
    assert named(uri).source == uri


@pytest.fixture
def scans(tmp_path):
    """Return a folder with a page, beside a picture that may not be read."""
    (tmp_path / "scans").mkdir()
    noise(7, 5).save(tmp_path / "scans" / "page.png")
    noise(8, 6).save(tmp_path / "private.png")
    return tmp_path / "scans"


def test_a_link_out_that_takes_the_place_of_a_page_is_not_followed(scans):
    """Not when the image is inspected, nor when what was inspected is decoded or read into memory."""
    image = named(str(scans / "page.png"), scans)
    handle = inspect(image.source)
    assert handle.load() == noise(7, 5)
    (scans / "page.png").unlink()
    (scans / "page.png").symlink_to("../private.png")
    for read in (lambda: inspect(image.source), handle.load, handle.pinned):
        with pytest.raises(ImageNotFoundError, match="leads out of"):
            read()


def test_no_swap_at_whichever_moment_has_another_file_read(scans):
    """Hundreds of times a page and a link out take turns in one place while threads read it."""
    page, place = scans / "0.png", scans / "page.png"
    page.write_bytes(place.read_bytes())
    over = threading.Event()

    def swap():
        chance = random.Random(0)
        while not over.is_set():
            for number in range(chance.randrange(1, 4)):
                copy = scans / f"copy{number}"
                if chance.random() < 0.5:
                    copy.hardlink_to(page)
                else:
                    copy.symlink_to("../private.png")
                copy.replace(place)
                copy.unlink(missing_ok=True)  # a file does not replace itself

    def sizes(_):
        try:
            handle = inspect(named(str(place), scans).source)
            return {handle.size, handle.load().size, handle.pinned().size}
        except ImageError:
            return set()

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        with ThreadPoolExecutor(4) as threads:
            assert set().union(*threads.map(sizes, range(400))) <= {(7, 5)}
    finally:
        over.set()
        swapping.join()
