"""How a command line names one page, and the passwords of PDFs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.images import PageSource
from jina_vllm_integrations.images.documents.files import PDF_SUFFIX
from jina_vllm_integrations.images.documents.sources import FileURI

if TYPE_CHECKING:
    from collections.abc import Sequence


def image_named(name: str, passwords: Sequence[str] = ()) -> Path | PageSource:
    """Return the image that a command line names: a path, or a page as `Source.name` or a file URI has it.

    Raises:
        ImageError: What follows ``#page=``, or the URI, is malformed.
        OptionError: A PDF without a page.
    """
    path = Path(name)
    file, mark, page = name.rpartition("#page=")
    if not path.exists() and (mark or name.startswith("file:")):
        uri = FileURI.parse(name if name.startswith("file:") else f"{Path(file).absolute().as_uri()}{mark}{page}")
        path = Path(uri.path)
        if uri.page is not None:
            return PageSource(path, uri.page, dpi=uri.dpi, passwords=passwords)
    if path.suffix.lower() == PDF_SUFFIX:
        raise OptionError(f"of a PDF one page must be named, got {name!r}. Write {name + '#page=1'!r}, or another.")
    return path


def read_passwords(path: Path) -> list[str]:
    """Return the lines of a file that are not blank.

    Raises:
        OptionError: There are none, or the file is not UTF-8.
        OSError: It cannot be read.
    """
    try:
        passwords = path.read_text(encoding="utf-8-sig").splitlines()  # any file: what the shell hands over is a pipe
    except UnicodeDecodeError as error:
        raise OptionError(f"a file of passwords must be UTF-8, {str(path)!r} is not. Convert it.") from error
    if not any(passwords):
        raise OptionError(f"a file of passwords has one a line, {str(path)!r} has none. Write them into it.")
    return [password for password in passwords if password]
