"""What a few bytes may cost: scans, frames, canvases, and many of them at once."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from jina_vllm_integrations.errors import ImageSizeError
from jina_vllm_integrations.images import ImageLimits, inspect
from jina_vllm_integrations.images.decoding_budget import PixelBudget
from jina_vllm_integrations.images.jpeg import MAX_SCANS, START_OF_SCAN, segments
from jina_vllm_integrations.images.tiff import MAX_FRAMES, has_pages, page_frames
from jina_vllm_integrations.images.webp import WebPFile
from pictures import encoded, noise

SCAN = b"\xff\xda"


def n_scans(content):
    """Return how many scans a JPEG has."""
    return list(segments(content)).count(START_OF_SCAN)


def with_scans(n_more):
    """Return a progressive JPEG whose last scan comes again and again."""
    content = encoded(noise(16, 16), "JPEG", progressive=True)
    last = content[content.rindex(SCAN) : -2]
    return content[:-2] + last * n_more + content[-2:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded():
    """Each takes the time of a picture; what encoders write is far from the limit."""
    usual = encoded(noise(16, 16), "JPEG", progressive=True)
    assert 5 < n_scans(usual) < MAX_SCANS / 5
    assert n_scans(encoded(noise(16, 16), "JPEG")) == 1
    assert n_scans(with_scans(7)) == n_scans(usual) + 7

    handle = inspect(with_scans(MAX_SCANS))

    with pytest.raises(ImageSizeError, match=rf"may have {MAX_SCANS} scans"):
        handle.load()


def test_markers_in_metadata_are_no_scans():
    """Nor behind the image, where telephones put films."""
    content = encoded(noise(16, 16), "JPEG", comment=SCAN * 1000) + SCAN * 1000

    assert n_scans(content) == 1
    assert inspect(content).load().size == (16, 16)


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xd0", b"\xff\xfe\0\2", b"?\xff\0"])
def test_what_stands_between_scans_hides_none(filling):
    """Bytes that fill up, restarts, empty comments and what is no segment: it is refused all the same."""
    content = with_scans(MAX_SCANS)
    first = content.index(SCAN)

    with pytest.raises(ImageSizeError, match=f"may have {MAX_SCANS} scans"):
        inspect(content[:first] + filling * 50_000 + content[first:]).load()


def animated_webp(width, height):
    """Return an animated WebP of two tiny frames that declares a large canvas."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    content = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    content[24:30] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(content)


def test_looking_at_a_webp_makes_no_decoder():
    """Libwebp's has its canvases at once, so size and limits come from the header alone."""
    content = animated_webp(12_000, 12_000)
    assert len(content) < 300

    assert inspect(content).size == (12_000, 12_000)
    with pytest.raises(ImageSizeError, match="16383 x 16383"):
        inspect(animated_webp(16_383, 16_383))
    with WebPFile(io.BytesIO(content)) as image:
        assert image._decoder is None


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exact": True, "lossless": True, "exif": b"Exif\0\0"}])
@pytest.mark.parametrize("bands", [3, 4])
def test_a_webps_header_says_what_its_decoder_says(options, bands):
    """Size and transparency, in each of the three forms that a file may have."""
    content = encoded(noise(21, 13, bands), "WEBP", **options)
    with Image.open(io.BytesIO(content)) as opened, WebPFile(io.BytesIO(content)) as image:
        assert (image.size, image.mode) == (opened.size, opened.mode)


def chain(n_frames, *, big=False, kinds=(0,)):
    """Return a TIFF of frames without pixels: kind, width and height."""
    start = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8)
    entry, frame, n_bytes = ("<HHQQ", "<Q{}sQ", 3 * 20 + 16) if big else ("<HHII", "<H{}sI", 3 * 12 + 6)
    content = bytearray(start)
    for number in range(n_frames):
        tags = ((254, kinds[number % len(kinds)]), (256, 1), (257, 1))
        directory = b"".join(struct.pack(entry, tag, 4, 1, value) for tag, value in tags)
        following = len(content) + n_bytes if number < n_frames - 1 else 0
        content += struct.pack(frame.format(len(directory)), len(tags), directory, following)
    return bytes(content)


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_frames_are_counted_up_to_a_limit(big):
    """A file of a hundred thousand is refused; one of as many as are allowed is not."""
    assert page_frames(io.BytesIO(chain(5, big=big, kinds=(0, 1, 4))), "a") == [0, 3]
    assert len(page_frames(io.BytesIO(chain(MAX_FRAMES, big=big)), "a")) == MAX_FRAMES
    with pytest.raises(ImageSizeError, match=r"may have 10,000 frames; 'a\.tif' has more"):
        page_frames(io.BytesIO(chain(100_000, big=big)), "a.tif")


def test_a_list_of_frames_that_leads_back_ends():
    """A frame that was seen is not seen again."""
    content = bytearray(chain(3))
    content[-4:] = struct.pack("<I", 8)

    assert page_frames(io.BytesIO(content), "a") == [0, 1, 2]


def tiled(side):
    """Return a TIFF of one pixel that is stored in a tile of many."""
    pixels = zlib.compress(bytes(side * side))
    tags = [
        *((256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)),
        *((324, 200), (325, len(pixels))),
    ]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)
    return head.ljust(200, b"\0") + pixels


def test_a_tile_has_no_more_pixels_than_a_picture():
    """It is decoded as a whole, though only a corner of it is shown."""
    limits = ImageLimits(max_pixels=2_000_000)

    assert inspect(tiled(256), limits).load().size == (1, 1)
    with pytest.raises(ImageSizeError, match="'bytes' is stored in tiles of 2,560,000"):
        inspect(tiled(1600), limits)


def test_whether_there_are_pages_is_known_by_the_second():
    """What lies behind it is not looked at."""
    assert not has_pages(io.BytesIO(chain(3, kinds=(0, 1, 4))))
    assert has_pages(io.BytesIO(chain(3)[:-20]))


def test_pictures_that_are_decoded_at_once_share_a_budget():
    """However many threads ask, no more pixels are decoded than there are; one that has more is decoded alone."""
    budget = PixelBudget(100)
    pictures = [Image.new("L", size) for size in ((5, 10), (10, 10), (3, 10), (50, 50), (1, 1))] * 20
    lock, now, most = threading.Lock(), [0], [0]

    def decode(picture):
        with budget.take(picture):
            with lock:
                now[0] += min(picture.width * picture.height, 100)
                most[0] = max(most[0], now[0])
            with lock:
                now[0] -= min(picture.width * picture.height, 100)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(decode, pictures))
    assert 0 < most[0] <= 100
    assert now == [0]


def test_a_decoder_that_needs_more_takes_more():
    """What WebP's canvases take is counted, so one of a few pixels may be all that is decoded (white-box)."""
    budget = PixelBudget(100)
    with Image.open(io.BytesIO(encoded(noise(10, 5), "WEBP"))) as webp, budget.take(webp):
        assert budget._left == 0
    with budget.take(noise(10, 5)):
        assert budget._left == 50


def test_a_budget_comes_back_after_an_error():
    """A damaged picture takes nothing with it."""
    budget, picture = PixelBudget(100), Image.new("L", (10, 10))
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), budget.take(picture):
            raise ValueError("damaged")
    with budget.take(picture):
        pass


def test_what_a_url_leads_to_has_lower_limits():
    """Nobody has chosen it; limits that are lower still hold for it, too."""
    local = ImageLimits()
    fetched = inspect("https://example.com/a.png").limits

    assert (fetched.max_bytes, fetched.max_pixels) == (local.max_url_bytes, local.max_url_pixels)
    assert fetched.max_bytes < local.max_bytes
    assert fetched.max_pixels < local.max_pixels
    assert inspect("https://example.com/a.png", ImageLimits(max_bytes=5, max_pixels=6)).limits.max_bytes == 5
    assert inspect("https://example.com/a.png", ImageLimits(max_bytes=5, max_pixels=6)).limits.max_pixels == 6
