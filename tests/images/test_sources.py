"""Where an image comes from: paths, files, data URIs, Pillow's images, and what is none of them."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_sources import ORIENTATION, RED, SOURCES, TRANSPARENT, exif
from jina_vllm_integrations.errors import ImageAddressError, ImageFormatError, ImageNotFoundError, ItemTypeError
from jina_vllm_integrations.images import inspect
from pictures import encoded, noise


def test_a_file_that_gives_little_at_a_time_is_read_to_its_end(png, picture):
    """A pipe or socket returns less than it is asked for."""

    class Dripping(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 10))

    assert inspect(Dripping(png.read_bytes())).load() == picture


def test_a_file_is_read_from_its_start_and_may_be_closed(png, picture):
    """What was just written to a buffer is there, and stays when the buffer is gone."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    handle = inspect(buffer)
    buffer.close()

    assert handle.load() == handle.load() == picture


def test_a_text_file_is_no_image_file():
    """The remedy is how the file was opened."""
    with pytest.raises(ItemTypeError, match="'rb'"):
        inspect(io.StringIO("text"))


def test_a_closed_file_is_refused(png):
    """A file that cannot be read is an error of this package."""
    with png.open("rb") as file:
        pass
    with pytest.raises(ImageFormatError, match="readable"):
        inspect(file)


@pytest.mark.parametrize("name", ["missing.png", ".", "x" * 5000, "null\0byte"])
def test_a_path_must_name_a_file(name, tmp_path):
    """Nothing, a directory and impossible names are refused."""
    with pytest.raises(ImageNotFoundError, match="must name a file"):
        inspect(tmp_path / name)


def test_a_fifo_is_refused_without_waiting(tmp_path):
    """Nobody writes to it, so opening it would wait for ever."""
    os.mkfifo(tmp_path / "page.png")

    with pytest.raises(ImageNotFoundError, match="must name a file"):
        inspect(tmp_path / "page.png")


def test_devices_and_sockets_are_refused(tmp_path):
    """Only what has an end is opened."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        for path in ("/dev/zero", tmp_path / "s"):
            with pytest.raises(ImageNotFoundError):
                inspect(path)


def test_a_file_that_changed_after_its_inspection_is_refused(png):
    """Work that was planned for one size is not done on another; a file that is gone is missing."""
    handle = inspect(png)

    noise(9, 9).save(png)
    with pytest.raises(ImageFormatError, match="as it was inspected"):
        handle.load()
    png.unlink()
    with pytest.raises(ImageNotFoundError):
        handle.load()


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:image/png;base64,A", "data:image/png;base64,iVBO!Rw0K"])
def test_a_malformed_data_uri_is_refused(uri):
    """No comma, no padding, no base64."""
    with pytest.raises(ImageFormatError, match="data URI"):
        inspect(uri)


def test_the_content_of_a_data_uri_decides_not_its_type():
    """Text does not become an image by being called one."""
    with pytest.raises(ImageFormatError, match="must be PNG, JPEG"):
        inspect("data:image/png,hello")


def state(image):
    """Everything that a caller can see of an image."""
    return image.mode, image.size, image.tobytes(), dict(image.info), image.getpalette(), dict(image.getexif())


@pytest.mark.parametrize("image", [*(image for image, _ in TRANSPARENT.values()), noise(7, 5), noise(7, 5).quantize(4)])
def test_the_callers_image_is_not_changed(image):
    """Neither by loading it, nor by painting on what was loaded."""
    before = state(image)

    loaded = inspect(image).load()
    loaded.paste(RED, (0, 0, *loaded.size))

    assert state(image) == before


def test_a_turned_pil_image_stays_turned(picture):
    """The orientation is applied to what is loaded, not to the caller's image."""
    with Image.open(io.BytesIO(encoded(picture, "PNG", exif=exif(6)))) as image:
        handle = inspect(image)

        assert handle.load().size == handle.size == (5, 7)
        assert image.size == (7, 5)
        assert image.getexif()[ORIENTATION] == 6


def test_a_closed_pil_image_is_refused(png):
    """An image whose pixels are gone is an error of this package."""
    image = Image.open(png)
    image.close()

    with pytest.raises(ImageFormatError):
        inspect(image).load()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
@pytest.mark.parametrize(
    "options", [{"format": "PNG"}, {"format": "TIFF", "compression": "tiff_lzw"}, {"format": "GIF"}]
)
def test_no_file_stays_open(options, picture, tmp_path):
    """Neither inspecting nor loading nor failing holds on to a file."""
    path = tmp_path / "picture"
    picture.save(path, **options)
    broken = tmp_path / "broken"
    broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = sorted(Path("/proc/self/fd").iterdir())

    kept = inspect(path), inspect(path).load()
    with pytest.raises(ImageFormatError):
        inspect(broken).load()

    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert kept


@pytest.mark.parametrize("name", ["path", "PIL image"])
def test_many_threads_load_the_same_image(name, tmp_path):
    """Also one that its owner has opened but not decoded, also through several handles."""
    path = tmp_path / "picture.png"
    image = noise(400, 300)
    image.save(path)
    source = SOURCES[name](path)
    handles = [inspect(source) for _ in range(4)] * 4

    with ThreadPoolExecutor(16) as threads:
        assert all(loaded == image for loaded in threads.map(lambda handle: handle.load(), handles))


@pytest.mark.parametrize("source", [None, 5, ["page.png"], np.zeros((4, 4, 3), dtype=np.uint8)], ids=type)
def test_other_types_are_no_images(source):
    """The message names the type and what would be taken."""
    with pytest.raises(ItemTypeError, match=type(source).__name__):
        inspect(source)


def test_the_label_says_which_image_it_is(png, picture):
    """Short enough for a message, and without a URL's secrets."""
    assert inspect(png).label == str(png)
    assert inspect(png.read_bytes()).label == "bytes"
    assert inspect(picture).label == "<PIL image>"
    assert inspect(SOURCES["data URI"](png)).label == "data:image/png;base64,iVBORw0KGgoAAAANSU..."
    assert inspect("HTTPS://Example.com/a.png?signature=secret#part").label == "https://example.com/a.png"
    assert inspect("http://example.com:8080").label == "http://example.com:8080/"


def test_a_url_is_not_fetched_when_it_is_inspected(monkeypatch):
    """Only its syntax is checked; the network is not asked."""
    monkeypatch.setattr(socket, "getaddrinfo", None)

    assert inspect("https://example.com/page.png").size is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/page.png",
        "http://",
        "http:///page.png",
        "http://example.com:port/",
        "http://example.com:99999/",
        "http://[::1/page.png",
        "http://exa mple.com/page.png",
        "http://example..com/",
        f"http://{'a' * 64}.com/",
        "http://example.com\\@other.com/",
        "http://user:hunter2@example.com/page.png",
        "http://user@example.com/page.png",
    ],
)
def test_a_url_that_is_never_fetched_is_refused_at_once(url):
    """Another scheme, no valid host, or credentials, which the message does not repeat."""
    with pytest.raises(ImageAddressError) as failure:
        inspect(url)
    assert "hunter2" not in str(failure.value)


def test_local_images_need_no_http_client(png):
    """Importing this module and loading a file does not import what fetches URLs."""
    program = (
        "import sys; from jina_vllm_integrations.images import inspect; inspect(sys.argv[1]).load(); "
        "inspect('https://example.com/'); assert not {'httpcore', 'httpx'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program, png], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
