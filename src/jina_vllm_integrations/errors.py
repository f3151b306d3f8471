"""Every error that this package raises on purpose.

    JinaVLLMError
    ├── InputError (ValueError)          an item cannot be embedded; ``index`` names it
    │   ├── ItemTypeError (TypeError)    neither text nor image
    │   ├── EmptyTextError               nothing to embed
    │   ├── TextTooLongError             more tokens than the engine takes
    │   ├── ImageError                   something about an image
    │   │   ├── ImageNotFoundError       no such file, or not a file
    │   │   ├── ImageFormatError         not an image, truncated or disguised
    │   │   ├── ImageSizeError           too many bytes or pixels, too flat, or empty
    │   │   └── ImageFetchError          a URL that could not be fetched
    │   │       └── ImageAddressError    a URL that must not be fetched
    │   └── PageError                    something about a file with pages
    │       ├── PageNotFoundError        no such file or folder, or no pages in it
    │       ├── BrokenPdfError           no PDF, truncated or damaged
    │       ├── EncryptedPdfError        its password is missing or another
    │       └── PageCostError            drawing it takes too long, or too much memory
    ├── OptionError (ValueError)         an unknown role, task, dimension or engine option
    ├── CheckpointError                  a model directory that cannot be served
    ├── MissingExtraError (ImportError)  an optional dependency is not installed
    ├── StoreError (RuntimeError)        vectors cannot be kept or read
    │   ├── StoreClosedError             closed by its owner
    │   ├── StoreDamagedError            its files are not whole
    │   ├── StoreFormatError             it holds other vectors, or a newer version wrote it
    │   ├── StoreFullError               its size limit or the disk leaves no room
    │   └── StoreInUseError              open for writing elsewhere
    └── EngineError (RuntimeError)
        ├── EngineStartError             vLLM did not come up
        ├── EngineClosedError            closed by its owner, before or during the call
        └── EngineDiedError              its process ended; the next call starts another

Messages state the rule, the offending value and the remedy.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class JinaVLLMError(Exception):
    """Base of all errors of this package."""


class InputError(JinaVLLMError, ValueError):
    """An item cannot be embedded.

    Attributes:
        index: Position of the item in the caller's sequence or stream, or ``None`` where
            the item was given alone.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.index is None else f"item {self.index}: {message}"


class ItemTypeError(InputError, TypeError):
    """The item is neither text nor an image."""


class EmptyTextError(InputError):
    """The text is empty or only white space."""


class TextTooLongError(InputError):
    """The text has more tokens than the engine takes, and truncation was not chosen."""


class ImageError(InputError):
    """Base of all errors about one image."""


class ImageNotFoundError(ImageError):
    """The path does not exist or is not a regular file."""


class ImageFormatError(ImageError):
    """The bytes are not an image in a supported format, or the image is damaged."""


class ImageSizeError(ImageError):
    """The image has too many bytes or pixels, an extreme aspect ratio, or no pixels at all."""


class ImageFetchError(ImageError):
    """The image's URL could not be fetched within the limits."""


class ImageAddressError(ImageFetchError):
    """The image's URL leads to an address that is not public."""


class PageError(InputError):
    """Base of all errors about one file with pages. What is wrong with a picture is an `ImageError`."""


class PageNotFoundError(PageError):
    """The path does not exist or cannot be read, or the folder has no file with pages."""


class BrokenPdfError(PageError):
    """The file is no PDF, or the PDF or one of its pages is truncated or damaged."""


class EncryptedPdfError(PageError):
    """The PDF is encrypted, and no password that was given opens it."""


class PageCostError(PageError):
    """Reading or drawing a page takes longer, or more memory, than its limits allow."""


class OptionError(JinaVLLMError, ValueError):
    """A role, task, dimension or engine option does not exist or does not fit."""


class CheckpointError(JinaVLLMError):
    """A model directory lacks files, is damaged, or holds another kind of model."""


class MissingExtraError(JinaVLLMError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        extra: The extra of this package that brings it.
    """

    def __init__(self, module: str, *, extra: str) -> None:
        super().__init__(f"{module!r} is not installed. Install it with: pip install 'jina-vllm-integrations[{extra}]'")
        self.extra = extra


class StoreError(JinaVLLMError, RuntimeError):
    """Base of all errors of what keeps vectors: a `TokenStore` or a Qdrant collection. The inputs were fine."""


class StoreClosedError(StoreError):
    """The store was closed by its owner."""


class StoreDamagedError(StoreError):
    """The store's files are not whole."""


class StoreFormatError(StoreError):
    """The store holds other vectors than these, or was written by a newer version of this package."""


class StoreFullError(StoreError):
    """The store's size limit, or the disk, leaves no room."""


class StoreInUseError(StoreError):
    """The store is open for writing elsewhere."""


class EngineError(JinaVLLMError, RuntimeError):
    """Base of all errors of an engine. The inputs were fine."""


class EngineStartError(EngineError):
    """vLLM did not come up."""


class EngineClosedError(EngineError):
    """The engine was closed by its owner, before or during the call."""


class EngineDiedError(EngineError):
    """The engine's process ended unexpectedly. The next call starts another."""


@contextmanager
def naming(position: int | None) -> Iterator[None]:
    """Let an error that is raised within be about the item at a position, or about one that was given alone."""
    try:
        yield
    except InputError as error:
        error.index = position
        raise


@contextmanager
def renaming(positions: Sequence[int | None]) -> Iterator[None]:
    """Let an error about one of several items name it by the caller's position; ``None`` for one given alone."""
    try:
        yield
    except InputError as error:
        if error.index is not None:
            error.index = positions[error.index]
        raise


@contextmanager
def noting(note: Callable[[int], str]) -> Iterator[None]:
    """Let an error about one of several items say more of it, in a note that is made of its position."""
    try:
        yield
    except InputError as error:
        if error.index is not None:
            error.add_note(note(error.index))
        raise
