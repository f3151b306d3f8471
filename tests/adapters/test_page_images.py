"""Which images that metadata names may be read."""

from __future__ import annotations

import pytest

from jina_vllm_integrations import ImageError
from jina_vllm_integrations.adapters.page_images import PageImages


def named(source, *roots):
    """Return what metadata names, where some folders are allowed."""
    return PageImages.of(keys=("image",), roots=roots, urls=False).named_by({"image": source})


@pytest.mark.parametrize("name", ["data", "DATA", "file"])
def test_a_file_that_is_called_as_a_scheme_is_a_file(tmp_path, monkeypatch, name):
    """What has no colon is no URI, so it must be inside an allowed folder like any other path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match="must be inside allowed_image_roots"):
        named(name)
    assert named(name, tmp_path).source == tmp_path.resolve() / name


@pytest.mark.parametrize("uri", ["data:image/png;base64,AAAA", "DATA:,"])
def test_a_data_uri_needs_no_folder(uri):
    """It holds its image itself."""
    assert named(uri).source == uri
