"""PDFs of a few bytes that cost a reader dearly."""

from __future__ import annotations

import zlib


def _document(content, *, resources=b"", box=b"0 0 595 842", objects=(), coding=b""):
    """Return a PDF of one page, with objects from number 5 on."""
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[%s]/Resources<<%s>>/Contents 4 0 R>>" % (box, resources),
        b"<<%s/Length %d>>stream\n" % (coding, len(content)) + content + b"\nendstream",
        *objects,
    ]
    file, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(parts) + 1, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1) + table + trailer


def nested_forms(levels=8, width=8):
    """Forms that each draw the next one eight times: sixteen million rectangles."""
    forms = []
    for level in range(levels):
        is_last = level == levels - 1
        content = b"0 0 9 9 re f" if is_last else b"/F Do " * width
        inside = b"" if is_last else b"/XObject<</F %d 0 R>>" % (6 + level)
        forms.append(
            b"<</Type/XObject/Subtype/Form/BBox[0 0 99 99]/Resources<<%s>>/Length %d>>stream\n" % (inside, len(content))
            + content
            + b"\nendstream"
        )
    return _document(b"/F Do", resources=b"/XObject<</F 5 0 R>>", objects=forms)


def fine_tiling():
    """A pattern whose tiles are a ten-thousandth of a point apart."""
    tile = b"0 0 1 1 re f"
    pattern = (
        b"<</Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 1 1]/XStep 0.0001/YStep 0.0001"
        b"/Resources<<>>/Length %d>>stream\n" % len(tile) + tile + b"\nendstream"
    )
    content = b"/Pattern cs /P scn 0 0 595 842 re f"
    return _document(content, resources=b"/Pattern<</P 5 0 R>>", objects=[pattern])


def endless_page():
    """A page as long as the way around the Earth."""
    return _document(b"0 0 9 9 re f", box=b"0 0 595 1000000000")


def blanks(size=2**28):
    """A quarter of a gigabyte of blanks, in a thousandth of that."""
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(b" " * 2**20) for _ in range(size // 2**20)) + packer.flush()
    return _document(content, coding=b"/Filter/FlateDecode")


def many_rectangles(count=40_000):
    """A page that takes a while to draw."""
    return _document(b"0 0 595 842 re f\n" * count)
