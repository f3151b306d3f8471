"""Greys of more than 8 bits: white is white, whatever a TIFF calls it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from image_sources import BLACK, WHITE, pixels
from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images import inspect

WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
UNSIGNED, SIGNED = 1, 2
SHORT = 3
PIXELS_AT = 200
GREY = (128, 128, 128)


def tiff(samples, *, bits, photometric=BLACK_IS_ZERO, order="<", sample_format=UNSIGNED):
    """Return one row of a grey TIFF, written tag by tag."""
    if bits == 12:
        row = "".join(f"{sample:012b}" for sample in samples)
        row = int(row, 2).to_bytes(len(row) // 8)
    else:
        kind = {16: "h", 32: "i"}[bits]
        row = struct.pack(f"{order}{len(samples)}{kind if sample_format == SIGNED else kind.upper()}", *samples)
    tags = [
        *((256, len(samples)), (257, 1), (258, bits), (259, 1), (262, photometric), (273, PIXELS_AT), (277, 1)),
        *((278, 1), (279, len(row)), (339, sample_format)),
    ]
    directory = b"".join(struct.pack(f"{order}HHIHH", tag, SHORT, 1, value, 0) for tag, value in tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags)) + directory + bytes(4)
    return head.ljust(PIXELS_AT, b"\0") + row


@pytest.mark.parametrize(("bits", "order"), [(12, "<"), (16, "<"), (16, ">"), (32, "<"), (32, ">")], ids=str)
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_white_is_white(bits, order, photometric):
    """With 12, 16 and 32 bits, in either byte order, counted from black or from white."""
    highest = (1 << bits) - 1
    samples = [0, highest, 1 << (bits - 1), highest]
    light = [highest - sample for sample in samples] if photometric == WHITE_IS_ZERO else samples
    content = tiff(light, bits=bits, photometric=photometric, order=order)

    loaded = pixels(content)

    assert loaded[:2] == [BLACK, WHITE]
    assert np.abs(np.asarray(loaded[2]) - GREY).max() <= 1


def test_a_tiff_that_its_owner_opened_is_the_same():
    """Pillow keeps what the file says of its samples, so an opened image shows the same page."""
    for content in (tiff([0, 4095], bits=12), tiff([65535, 0], bits=16, photometric=WHITE_IS_ZERO)):
        with Image.open(io.BytesIO(content)) as image:
            assert pixels(image) == [BLACK, WHITE]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_greys_keep_their_meaning(compression):
    """What libtiff decodes is scaled as well."""
    file = io.BytesIO()
    image = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    image.save(file, "TIFF", compression=compression, tiffinfo={262: WHITE_IS_ZERO})
    with Image.open(file) as written:
        stored = written.tag_v2[262]

    assert pixels(file.getvalue()) == ([WHITE, BLACK] if stored == WHITE_IS_ZERO else [BLACK, WHITE])


def test_signed_samples_have_no_known_white():
    """Below zero nobody knows how dark it is meant; above, they count as 16 bits."""
    with pytest.raises(ImageFormatError, match=r"^integer pixels must be in 0\.\.65535; 'bytes' holds -1\.\.5"):
        inspect(tiff([-1, 5], bits=32, sample_format=SIGNED)).load()
    assert pixels(tiff([0, 65535], bits=32, sample_format=SIGNED)) == [BLACK, WHITE]
