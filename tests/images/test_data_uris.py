"""Data URIs are read as browsers read them."""

from __future__ import annotations

import base64

import pytest

from jina_vllm_integrations.errors import ImageFormatError
from jina_vllm_integrations.images import inspect
from pictures import encoded, noise

PICTURE = noise(7, 6)
BASE64 = base64.b64encode(encoded(PICTURE)).decode()
assert BASE64.endswith("=")

WAYS = {
    "blank before base64": f"data:image/png; base64,{BASE64}",
    "blank behind base64": f"data:image/png;base64 ,{BASE64}",
    "capitals": f"DATA:IMAGE/PNG;BASE64,{BASE64}",
    "no media type": f"data:;base64,{BASE64}",
    "a parameter before": f"data:image/png;charset=utf-8;base64,{BASE64}",
    "a parameter behind": f"data:image/png;base64;charset=utf-8,{BASE64}",
    "blank behind the comma": f"data:image/png;base64, {BASE64}",
    "broken into lines": "data:image/png;base64," + "\r\n".join(BASE64[at : at + 76] for at in range(0, 9999, 76)),
    "no padding": f"data:image/png;base64,{BASE64.rstrip('=')}",
    "percent-encoded": f"data:image/png;base64,{BASE64.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
    "line breaks percent-encoded": f"data:image/png;base64,{BASE64[:40]}%0A{BASE64[40:]}",
    "a fragment": f"data:image/png;base64,{BASE64}#page",
}


@pytest.mark.parametrize("uri", WAYS.values(), ids=WAYS)
def test_what_browsers_read_is_read(uri):
    """Blanks, line breaks, parameters and missing padding are no obstacle."""
    assert inspect(uri).load() == PICTURE


@pytest.mark.parametrize("body", ["iVBO!Rw0K", "iVBO*w==", "A", "AAAA=", "AAAAA===", "AA=A", "=", "iVBOR_-0", "ä"])
def test_what_browsers_refuse_is_refused(body):
    """Other letters, padding in the middle or too much of it, and a single letter at the end are no base64."""
    with pytest.raises(ImageFormatError, match="a data URI must be well encoded"):
        inspect(f"data:image/png;base64,{body}")


def test_only_a_parameter_means_base64():
    """A media type of that name leaves the content as it is."""
    with pytest.raises(ImageFormatError, match="starts with b'iVBORw0KGgoA'"):
        inspect(f"data:base64,{BASE64}")
