"""An image that is in its address: data URIs, read as browsers read them.

By the WHATWG's Fetch standard ("data: URL processor") and its forgiving base64, and like browsers beyond it: base64 is
what any of the parameters may say, not only the last.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes

from jina_vllm_integrations.errors import ImageFormatError

_WHITE_SPACE = re.compile(rb"[\t\n\f\r ]+")
_PADDING = re.compile(rb"={1,2}$")


def data_uri_content(uri: str, label: str) -> bytes:
    """Return what a data URI holds. Its media type is not heeded.

    Args:
        uri: With its ``data:``.
        label: For messages.

    Raises:
        ImageFormatError: It has no comma, or no valid base64.
    """
    header, comma, body = uri.partition("#")[0].partition(",")
    if not comma:
        raise ImageFormatError(f"a data URI must have a comma before its content; {label!r} has none. Complete it.")
    content = unquote_to_bytes(body)
    if not any(parameter.strip().lower() == "base64" for parameter in header.split(";")[1:]):
        return content
    try:
        return _forgiving_base64(content)
    except ValueError as error:
        raise ImageFormatError(
            f"a data URI must be well encoded; {label!r} is not ({error}). Encode it anew."
        ) from error


def _forgiving_base64(content: bytes) -> bytes:
    content = _WHITE_SPACE.sub(b"", content)
    if len(content) % 4 == 0:
        content = _PADDING.sub(b"", content)
    if b"=" in content:
        raise ValueError("'=' may only fill up its last four letters")
    return base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)
