"""Photos as telephones take them: HEIF, which wants a decoder of its own."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images import inspect
from jina_vllm_integrations.images.formats import recognised
from pictures import encoded, picture

BRANDS = {
    b"heic": "HEIF",
    b"hevx": "HEIF",
    b"avif": "AVIF",
    b"mif1\0\0\0\0mif1heic": "HEIF",
    b"mif1\0\0\0\0mif1miafavif": "AVIF",
    b"msf1\0\0\0\0avis": "AVIF",
}


def heic(image, **options):
    """Return an image as a HEIC file."""
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=-1, chroma=444, **options)
    return file.getvalue()


def test_a_heic_is_a_picture(tmp_path):
    """From bytes and from a file, in its colours."""
    path = tmp_path / "photo.heic"
    path.write_bytes(heic(picture((200, 100, 50), (64, 48))))

    for source in (path, path.read_bytes()):
        handle = inspect(source)
        assert handle.size == (64, 48)
        assert np.abs(np.asarray(handle.load(), dtype=int) - (200, 100, 50)).max() <= 4


def test_a_truncated_heic_is_refused():
    """By the error of every other damaged picture."""
    content = heic(picture((200, 100, 50), (64, 48)))
    with pytest.raises(ImageFormatError, match="complete and undamaged"):
        inspect(content[: len(content) // 2]).load()


def test_without_its_decoder_the_error_names_the_extra(monkeypatch):
    """It is one about the picture, so a run over many goes on."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageFormatError, match=r"pip install 'jina-vllm-integrations\[heif\]'"):
        inspect(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


@pytest.mark.parametrize(("brands", "name"), BRANDS.items(), ids=str)
def test_the_brands_tell_heif_from_avif(brands, name):
    """They are containers of one kind; behind a general brand is that of the codec."""
    assert recognised(b"\0\0\0\x1cftyp" + brands).name == name


def test_what_is_called_avif_is_opened_by_pillow():
    """It needs no extra."""
    assert recognised(encoded(Image.new("RGB", (8, 8)), "AVIF")[:64]).name == "AVIF"
