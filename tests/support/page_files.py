"""Files with pages."""

from __future__ import annotations

from PIL import Image

from jina_vllm_integrations.images import inspect
from pdf_files import PdfPage, pdf

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
WORD = "sesame"

REPORT = (
    PdfPage(text="First page\nof a report", colour=(1, 0, 0)),
    PdfPage(text="Second page", colour=(0, 1, 0)),
    PdfPage(colour=(0, 0, 1)),
)


def corners(page):
    """Return the colours of a page's corners: left upper, right upper, left lower, right lower."""
    image = inspect(page.image.source).load()
    right, bottom = image.width - 3, image.height - 3
    return [image.getpixel(place) for place in ((2, 2), (right, 2), (2, bottom), (right, bottom))]


def picture_file(path, size=(40, 30), colour="red", **options):
    """Write a plain picture."""
    Image.new("RGB", size, colour).save(path, **options)
    return path


def folder_with(report, path):
    """Write a folder of a report and a scan, and return its path."""
    path.mkdir()
    (path / "report.pdf").write_bytes(pdf(*report, labels="r"))
    picture_file(path / "scan.png")
    return path


def tiff(path, frames, **options):
    """Write a TIFF of several frames, each a picture and the tags of its own."""
    pictures = [frame for frame, _ in frames]
    for frame, tags in frames:
        frame.encoderinfo = {"tiffinfo": tags}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return path


def plain(colour, size=(40, 30)):
    """Return a frame without tags."""
    return Image.new("RGB", size, colour), {}
