"""Which files of a folder have pages."""

from __future__ import annotations

import logging
import mimetypes
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import OptionError, PageNotFoundError
from jina_vllm_integrations.images.documents.files import PDF_SUFFIX
from jina_vllm_integrations.images.formats import IMAGE_SUFFIXES
from jina_vllm_integrations.pages.files import PageFile, begins_like_pages, readable
from jina_vllm_integrations.pages.image_folder import is_page_image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jina_vllm_integrations.pages.image_folder import ImageFolder

_SUFFIXES = IMAGE_SUFFIXES | {PDF_SUFFIX}

# Python's own table, without that of the machine, so that a folder is read alike on all of them.
_KINDS = mimetypes.MimeTypes()
_SAY_NOTHING = ("image/", "application/octet-stream")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """What was named, and what the folders among it hold.

    Attributes:
        files: Those with pages, in the order of their paths, those of each folder sorted.
        others: How many files of the folders have none, by suffix in lower case, which may be empty.
    """

    files: list[PageFile] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def page_files(paths: Iterable[Path], *, glob: str, images: ImageFolder | None) -> FoundFiles:
    """Look for files with pages.

    In folders, files count whose suffix is that of PDFs or pictures. Where a suffix says nothing, or is none, the first
    bytes decide. Hidden files do not count, nor do images of rendered pages.

    Raises:
        OptionError: ``glob`` is no pattern.
        PageNotFoundError: There is no such path, or no such file in a folder.
    """
    found = FoundFiles()
    for path in paths:
        with readable(path):
            is_folder, is_file = path.is_dir(), path.is_file()
        if is_folder:
            in_folder = _found_in(path, glob, images)
            found.files.extend(in_folder.files)
            found.others.update(in_folder.others)
        elif is_file:
            found.files.append(PageFile(path=path))
        else:
            raise PageNotFoundError(
                f"a path must name a file or folder, {str(path)!r} names none. Correct it, or put the file there."
            )
    return found


def _found_in(folder: Path, glob: str, images: ImageFolder | None) -> FoundFiles:
    found = FoundFiles()
    for path in _matches(folder, glob):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.is_dir() or _is_page_image(path, images):
            continue
        if _has_pages(path):
            found.files.append(PageFile(path=path, folder=folder))
        else:
            found.others[path.suffix.lower()] += 1
    if not found.files:
        raise PageNotFoundError(
            f"a folder must have files with pages ({' '.join(sorted(_SUFFIXES))}); {str(folder)!r} has none that match "
            f"glob={glob!r}{_counted(found.others, ' but ')}. Correct the folder or the pattern."
        )
    if found.others:
        logger.warning("not read in %r, being neither PDFs nor pictures: %s", str(folder), _counted(found.others))
    return found


def _is_page_image(path: Path, images: ImageFolder | None) -> bool:
    return is_page_image(path) or (images is not None and images.holds(path))


def _matches(folder: Path, glob: str) -> list[Path]:
    try:
        with readable(folder), os.scandir(folder):  # because glob finds nothing in a folder that cannot be read
            return sorted(folder.glob(glob))
    except (ValueError, NotImplementedError) as error:
        raise OptionError(
            f"glob must be a pattern relative to the folder, such as '**/*.pdf', got {glob!r} ({error})."
        ) from error


def _has_pages(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return True
    kind, compression = _KINDS.guess_type(f"a{suffix}")
    says_something = compression is not None or (kind is not None and not kind.startswith(_SAY_NOTHING))
    return not says_something and begins_like_pages(path)


def _counted(others: Counter[str], before: str = "") -> str:
    counts = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in sorted(others.items()))
    return before + counts if counts else ""
