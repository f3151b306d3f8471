"""One image from any source: the same pixels, within the limits, or an error that says why."""

from __future__ import annotations

import base64
import io
import os
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFile, ImageOps

from jina_vllm_integrations.errors import (
    ImageAddressError,
    ImageFormatError,
    ImageNotFoundError,
    ImageSizeError,
    ItemTypeError,
    OptionError,
)
from jina_vllm_integrations.images import ImageLimits, inspect
from pictures import encoded, noise

ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def pixels(source, **limits):
    """All pixels of an image, as they are embedded."""
    image = inspect(source, ImageLimits(**limits)).load()
    return list(image.get_flattened_data()) if hasattr(image, "get_flattened_data") else list(image.getdata())


def png_header(width, height):
    """A PNG that ends before its pixels, with a correct checksum."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">II", zlib.crc32(chunk), 0) + b"IDAT"


def bmp_header(width, height):
    """A BMP that ends before its pixels."""
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def exif(orientation):
    """EXIF data that says how the camera was held."""
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


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


SOURCES = {
    "str path": str,
    "path": Path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "data URI": lambda path: f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}",
    "percent-encoded data URI": lambda path: "data:," + "".join(f"%{byte:02x}" for byte in path.read_bytes()),
    "binary file": lambda path: io.BytesIO(path.read_bytes()),
    "PIL image": lambda path: Image.open(io.BytesIO(path.read_bytes())),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_pixels(source, png, picture):
    """Where an image comes from changes nothing about it."""
    handle = inspect(source(png))

    assert handle.size == picture.size
    assert handle.load() == picture


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_formats_give_every_pixel(image_format, picture):
    """What was saved without loss is loaded without loss."""
    assert inspect(encoded(picture, image_format)).load() == picture


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_lossy_formats_give_nearly_every_pixel(image_format):
    """A plain colour survives lossy formats within a few shades."""
    loaded = inspect(encoded(Image.new("RGB", (16, 16), (200, 100, 50)), image_format)).load()

    assert loaded.mode == "RGB"
    assert np.abs(np.asarray(loaded, dtype=int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(image_format, orientation):
    """Size and pixels are what a viewer shows."""
    content = encoded(noise(16, 8), image_format, exif=exif(orientation))
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")

    handle = inspect(content)

    assert handle.size == upright.size == ((16, 8) if orientation < 5 else (8, 16))
    assert ImageChops.difference(handle.load(), upright).getbbox() is None


def test_exif_orientation_6_turns_clockwise():
    """The left column of a picture held that way is its top row."""
    lying = Image.new("RGB", (2, 1), RED)
    lying.putpixel((1, 0), BLUE)

    assert pixels(encoded(lying, "PNG", exif=exif(6))) == [RED, BLUE]
    assert inspect(encoded(lying, "PNG", exif=exif(6))).size == (1, 2)
    assert pixels(encoded(lying, "PNG", exif=exif(3))) == [BLUE, RED]


def test_nothing_turns_the_picture_again(picture):
    """The loaded image carries no orientation that a later step could apply."""
    loaded = inspect(encoded(picture, "PNG", exif=exif(6))).load()

    assert loaded.info == {}
    assert not loaded.getexif()


def test_damaged_exif_turns_nothing(picture):
    """An image whose metadata is damaged is shown as it is stored."""
    assert inspect(encoded(picture, "PNG", exif=b"Exif\0\0no metadata at all")).load() == picture


def two(mode, left, right, **info):
    """An image of two pixels."""
    image = Image.new(mode, (2, 1), left)
    image.putpixel((1, 0), right)
    image.info.update(info)
    return image


def with_palette(image):
    """The image, whose pixel values 0 and 1 now mean black and green."""
    image.putpalette([*BLACK, *GREEN])
    return image


TRANSPARENT = {
    "RGBA": (two("RGBA", (0, 0, 0, 0), (*GREEN, 255)), GREEN),
    "RGBa": (two("RGBa", (0, 0, 0, 0), (*GREEN, 255)), GREEN),
    "LA": (two("LA", (0, 0), (60, 255)), (60, 60, 60)),
    "PA": (with_palette(two("PA", (0, 0), (1, 255))), GREEN),
    "P, one transparent entry": (with_palette(two("P", 0, 1, transparency=0)), GREEN),
    "P, opacity of each entry": (with_palette(two("P", 0, 1, transparency=b"\x00\xff")), GREEN),
    "P, palette with alpha": (two("RGBA", (0, 0, 0, 0), (*GREEN, 255)).quantize(2), GREEN),
    "RGB, transparent colour": (two("RGB", RED, GREEN, transparency=RED), GREEN),
    "L, transparent grey": (two("L", 7, 60, transparency=7), (60, 60, 60)),
    "I;16, transparent grey": (two("I;16", 1799, 60 * 257, transparency=1799), (60, 60, 60)),
}


@pytest.mark.parametrize(("image", "opaque"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparent_parts_are_white(image, opaque):
    """What is transparent is paper, however the image says so."""
    assert pixels(image) == [WHITE, opaque]


@pytest.mark.parametrize("name", ["RGBA", "LA", "P, one transparent entry", "RGB, transparent colour"])
def test_transparent_parts_of_a_file_are_white(name):
    """A PNG keeps what it says about transparency."""
    image, opaque = TRANSPARENT[name]

    assert pixels(encoded(image, "PNG")) == [WHITE, opaque]


def test_half_transparent_parts_are_mixed_with_white():
    """Black at half opacity is grey."""
    assert pixels(two("RGBA", (0, 0, 0, 128), (0, 0, 0, 255))) == [(127, 127, 127), BLACK]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(image_format):
    """An animation is its first frame, a file of several pages its first page."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **lossless)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 2

    assert set(pixels(content)) == {RED}


def test_of_a_pil_image_the_current_frame_counts():
    """Who holds an opened animation has chosen the frame."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    with Image.open(io.BytesIO(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]))) as image:
        image.seek(1)

        assert set(pixels(image)) == {GREEN}


def test_a_cmyk_jpeg_keeps_its_colours():
    """Print colours become the screen's, not their negative."""
    loaded = inspect(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")).load()

    assert np.abs(np.asarray(loaded, dtype=int) - RED).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_every_colour_space_becomes_rgb(mode):
    """White is white and black is black in every mode."""
    image = two("RGB", WHITE, BLACK)
    image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else lab(image, mode)

    assert np.abs(np.asarray(pixels(image)) - [WHITE, BLACK]).max() <= 2


def lab(image, mode):
    """The image in any mode."""
    if mode != "LAB":
        return image.convert(mode)
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bits_are_scaled_not_clipped(mode):
    """Greys above 255 stay greys, in either byte order."""
    assert pixels(two(mode, 100 * 257, 65535)) == [(100, 100, 100), WHITE]


def test_16_bit_files_are_scaled():
    """A scan with 16 bits shows the greys that one with 8 bits shows."""
    grey = np.array([[0, 1, 128, 255]], dtype=np.uint16)

    assert pixels(encoded(Image.fromarray(grey * 257), "PNG")) == [(value,) * 3 for value in grey[0].tolist()]
    assert pixels(b"P2 2 1 65535\n0 65535\n") == [BLACK, WHITE]


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_without_a_known_white_are_refused(value):
    """Nobody knows how bright 32 bits are meant."""
    with pytest.raises(ImageFormatError, match=r"^integer pixels must be in 0\.\.65535"):
        inspect(two("I", 0, value)).load()


def test_floats_are_refused_before_any_work():
    """Nobody knows how bright 0.5 is meant, so the header is enough to say no."""
    with pytest.raises(ImageFormatError, match="mode 'F'"):
        inspect(encoded(Image.new("F", (2, 2), 0.5), "TIFF"))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM"])
def test_inspecting_decodes_no_pixel(image_format, monkeypatch):
    """The header is enough, also in search of an orientation."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))

    assert inspect(encoded(noise(20, 15), image_format)).size == (20, 15)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM"])
def test_a_truncated_image_is_refused(image_format):
    """Half a page is not silently completed with grey."""
    content = encoded(noise(64, 64), image_format)

    with pytest.raises(ImageFormatError, match="complete and undamaged") as failure:
        inspect(content[: len(content) // 2]).load()
    assert failure.value.__cause__ is not None


DISGUISED = {
    "text": b"a page of text",
    "nothing": b"",
    "HTML": b"<!doctype html><html></html>",
    "PDF": b"%PDF-1.7\n1 0 obj\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "WMF": b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(40),
    "icon": encoded(Image.new("RGB", (16, 16)), "ICO"),
}


@pytest.mark.parametrize("content", DISGUISED.values(), ids=DISGUISED)
def test_content_decides_not_the_name(content, tmp_path):
    """What is no picture, or runs programs, is refused whatever it is called."""
    path = tmp_path / "page.png"
    path.write_bytes(content)

    for source in (path, content):
        with pytest.raises(ImageFormatError, match="must be PNG, JPEG"):
            inspect(source)


def test_an_unknown_name_is_no_obstacle(png, picture):
    """A picture is read whatever it is called."""
    assert inspect(png.rename(png.with_suffix(".txt"))).load() == picture


@pytest.mark.parametrize("header", [png_header(100_000, 100_000), bmp_header(100_000, 100_000)], ids=["PNG", "BMP"])
def test_a_decompression_bomb_is_refused_by_its_header(header):
    """Ten thousand million pixels are refused though none is there to decode."""
    with pytest.raises(ImageSizeError, match="100000 x 100000"):
        inspect(header)


def test_the_pixel_limit_is_the_callers(picture):
    """A limit is the largest size that is taken, for encoded and for PIL images."""
    for source in (encoded(picture, "PNG"), picture):
        assert inspect(source, ImageLimits(max_pixels=35)).size == (7, 5)
        with pytest.raises(ImageSizeError, match=r"ImageLimits\.max_pixels"):
            inspect(source, ImageLimits(max_pixels=34))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM"])
def test_pillows_suspicion_is_not_heard(image_format, monkeypatch):
    """An image within the limits is loaded without Pillow's warning, which would be an error here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)

    assert inspect(encoded(noise(20, 15), image_format)).load().size == (20, 15)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_high_limit_overrides_pillows(image_format, monkeypatch):
    """Who raises the limit need not change Pillow's for the whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    assert inspect(encoded(noise(20, 15), image_format)).load().size == (20, 15)


@pytest.mark.parametrize("pillows_limit", [10, 200], ids=["error", "warning as an error"])
def test_where_pillow_refuses_a_size_the_message_says_so(pillows_limit, monkeypatch):
    """What Pillow's GIF decoder says about a frame larger than the screen becomes an error of this package."""
    content = bytearray(encoded(noise(20, 15), "GIF"))
    content[6:10] = struct.pack("<HH", 1, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)

    with pytest.raises(ImageSizeError, match="MAX_IMAGE_PIXELS"):
        inspect(content)


def test_the_process_keeps_its_settings(png):
    """Nothing that other threads rely on is changed, not even for a while that one could notice afterwards."""
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))

    inspect(png).load()

    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(size):
    """There is nothing to embed."""
    with pytest.raises(ImageSizeError, match="must have pixels"):
        inspect(Image.new("RGB", size))


def test_the_byte_limit_holds_for_every_source(png):
    """One byte too many is refused, wherever it comes from."""
    n_bytes = png.stat().st_size
    for name in ("path", "bytes", "data URI", "binary file"):
        source = SOURCES[name]
        assert inspect(source(png), ImageLimits(max_bytes=n_bytes)).size == (7, 5)
        with pytest.raises(ImageSizeError, match=r"ImageLimits\.max_bytes"):
            inspect(source(png), ImageLimits(max_bytes=n_bytes - 1))


def test_a_file_is_read_no_further_than_the_limit():
    """An endless stream costs the limit and one byte."""

    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(ImageSizeError):
        inspect(endless, ImageLimits(max_bytes=1000))
    assert endless.given == 1001


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
        "file:///etc/passwd",
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


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": 0},
        {"max_pixels": 1.5},
        {"max_redirects": -1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": "20"},
        {"private_hosts": "images.example.com"},
        {"private_hosts": frozenset({"http://images.example.com"})},
        {"private_hosts": frozenset({"images.example.com:8080"})},
    ],
    ids=str,
)
def test_limits_must_make_sense(options):
    """A limit that limits nothing is a mistake."""
    with pytest.raises(OptionError, match=next(iter(options))):
        ImageLimits(**options)


def test_local_images_need_no_http_client(png):
    """Importing this module and loading a file does not import what fetches URLs."""
    program = (
        "import sys; from jina_vllm_integrations.images import inspect; inspect(sys.argv[1]).load(); "
        "inspect('https://example.com/'); assert not {'httpcore', 'httpx'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program, png], check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
