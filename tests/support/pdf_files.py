"""PDFs, written by hand: a few pages with a text, a colour and what else a test needs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
_KEY_BYTES = 5  # 40 bits: PDF 1.1's encryption is the shortest to write
_PERMISSIONS = (-4).to_bytes(4, "little", signed=True)
_ID = b"0123456789abcdef"
_BOX = "<</Type/XObject/Subtype/Form/BBox[0 0 20 20]/Length {}>>stream\n{}\nendstream"

_JAPANESE = {
    4: (
        "<</Type/Font/Subtype/Type0/BaseFont/HeiseiMin-W3/Encoding/UniJIS-UCS2-H/DescendantFonts[<</Type/Font"
        "/Subtype/CIDFontType0/BaseFont/HeiseiMin-W3/CIDSystemInfo<</Registry(Adobe)/Ordering(Japan1)/Supplement 2>>"
        "/FontDescriptor 5 0 R>>]>>"
    ),
    5: (
        "<</Type/FontDescriptor/FontName/HeiseiMin-W3/Flags 6/FontBBox[0 -200 1000 900]/ItalicAngle 0/Ascent 800"
        "/Descent -200/CapHeight 700/StemV 80>>"
    ),
}

GARBLED = "garbled"


@dataclass(frozen=True, kw_only=True)
class PdfPage:
    """What is on a page.

    Attributes:
        text: Its lines, in Helvetica, from the left upper corner on.
        japanese: A line, in a font that is not in the file.
        colour: Red, green and blue of a square in the left upper quarter, from 0 to 1.
        size: Width and height before it is turned, in points.
        rotate: Degrees clockwise.
        marks: What is drawn in green over its left lower corner: an ``"annotation"`` or a form's ``"field"``.
    """

    text: str = ""
    japanese: str = ""
    colour: tuple[float, float, float] = (1, 1, 1)
    size: tuple[float, float] = (200, 100)
    rotate: int = 0
    marks: str = ""


def pdf(*pages, labels="", password=None):
    """Return a PDF.

    Args:
        pages: Each a `PdfPage`, or `GARBLED` for one that is none.
        labels: Style of the page labels: ``"r"`` for roman numbers, nothing for none.
        password: Encrypts it.
    """
    encrypted = partial(_encrypted, _file_key(password)) if password else lambda _number, content: content
    objects = {2: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    kids, fields = [], []
    for number, page in zip(range(10, 10 * len(pages) + 1, 10), pages, strict=True):
        kids.append(number)
        if page == GARBLED:
            objects[number] = b"null"
            continue
        fields += [number + 2] if page.marks == "field" else []
        content = encrypted(number + 1, _content(page).encode("latin-1"))
        objects[number] = _page(page, number).encode()
        objects[number + 1] = b"<</Length %d>>stream\n" % len(content) + content + b"\nendstream"
        if page.marks:
            objects[number + 2] = _mark(page.marks, number + 3).encode()
            objects[number + 3] = _BOX.format(25, "0 1 0 rg 0 0 20 20 re f  ").encode()
    objects[1] = f"<</Type/Pages/Kids[{_references(kids)}]/Count {len(kids)}>>".encode()
    labelled = f"/PageLabels<</Nums[0<</S/{labels}>>]>>" if labels else ""
    form = f"/AcroForm<</Fields[{_references(fields)}]>>" if fields else ""
    if any(page.japanese for page in pages if page != GARBLED):
        objects |= {number: font.encode() for number, font in _JAPANESE.items()}
    objects[3] = f"<</Type/Catalog/Pages 1 0 R{labelled}{form}>>".encode()
    return _file(objects, _encryption(password) if password else "")


def is_open(path):
    """Whether this process has a file open."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(descriptor.readlink())
        except FileNotFoundError:  # that by which the folder was listed
            continue
    return path in links


def _page(page, number):
    size = "{} {}".format(*page.size)
    marks = f"/Annots[{number + 2} 0 R]" if page.marks else ""
    return (
        f"<</Type/Page/Parent 1 0 R/MediaBox[0 0 {size}]/Rotate {page.rotate}/Contents {number + 1} 0 R{marks}"
        "/Resources<</Font<</F1 2 0 R/F2 4 0 R>>>>>>"
    )


def _content(page):
    width, height = page.size
    square = "{} {} {} rg 0 {} {} {} re f".format(*page.colour, height / 2, width / 2, height / 2)
    lines = " ".join(f"({line.translate(str.maketrans('()', '[]'))}) Tj T*" for line in page.text.splitlines())
    japanese = f"/F2 10 Tf <{page.japanese.encode('utf-16-be').hex()}> Tj" if page.japanese else ""
    return f"{square} 0 0 0 rg BT /F1 10 Tf 12 TL 10 {height - 20} Td {lines} {japanese} ET"


def _mark(kind, appearance):
    is_field = "/Subtype/Widget/FT/Tx/T(name)/V(value)/DA(/Helv 8 Tf)" if kind == "field" else "/Subtype/Square"
    return f"<</Type/Annot{is_field}/F 4/Rect[0 0 20 20]/AP<</N {appearance} 0 R>>>>"


def _references(numbers):
    return " ".join(f"{number} 0 R" for number in numbers)


def _file(objects, trailer):
    content = b"%PDF-1.7\n"
    rows = {0: b"0000000000 65535 f \n"}
    for number, body in objects.items():
        rows[number] = b"%010d 00000 n \n" % len(content)
        content += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%d 1\n" % number + row for number, row in sorted(rows.items()))
    end = f"trailer<</Size {max(rows) + 1}/Root 3 0 R{trailer}>>\nstartxref\n{len(content)}\n%%EOF\n"
    return content + b"xref\n" + table + end.encode()


def _encryption(password):
    key = _file_key(password)
    owner, user = (value.hex() for value in (_owner(password), _rc4(key, _PADDING)))
    permissions = int.from_bytes(_PERMISSIONS, "little", signed=True)
    return f"/ID[<{_ID.hex()}><{_ID.hex()}>]/Encrypt<</Filter/Standard/V 1/R 2/O<{owner}>/U<{user}>/P {permissions}>>"


def _file_key(password):
    return _md5(_padded(password) + _owner(password) + _PERMISSIONS + _ID)[:_KEY_BYTES]


def _owner(password):
    return _rc4(_md5(_padded(password))[:_KEY_BYTES], _padded(password))


def _encrypted(key, number, content):
    return _rc4(_md5(key + number.to_bytes(3, "little") + bytes(2))[: _KEY_BYTES + 5], content)


def _padded(password):
    return (password.encode() + _PADDING)[:32]


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).digest()


def _rc4(key, content):
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in content:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
