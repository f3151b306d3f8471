"""Images in the forms that callers have, and their pixels."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from jina_vllm_integrations.images import ImageLimits, inspect

ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def pixels(source, **limits):
    """All pixels of an image, as they are embedded."""
    image = inspect(source, ImageLimits(**limits)).load()
    return list(image.get_flattened_data()) if hasattr(image, "get_flattened_data") else list(image.getdata())


def exif(orientation):
    """EXIF data that says how the camera was held."""
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


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


def lab(image, mode):
    """The image in any mode."""
    if mode != "LAB":
        return image.convert(mode)
    from PIL import ImageCms

    return ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
