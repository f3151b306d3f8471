"""A file with pages, as its reader sees it: what it was is what is drawn."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Self, TypeAlias, TypeVar

from jina_vllm_integrations.errors import (
    BrokenPdfError,
    JinaVLLMError,
    MissingExtraError,
    PageCostError,
    PageError,
    PageNotFoundError,
)
from jina_vllm_integrations.foundation.opening import OutsideError, open_file
from jina_vllm_integrations.images.documents.jobs import Describe, Job, Opening, PageFacts
from jina_vllm_integrations.images.documents.processes import PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.foundation.opening import FileSource
    from jina_vllm_integrations.images.limits import ImageLimits

PDF_SUFFIX = ".pdf"
PDF_SIGNATURE = b"%PDF-"

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")

_Shape: TypeAlias = tuple[tuple[int, ...], tuple[str, ...], int, float, int]
"""Of which file and page, by which passwords, at which resolution and within how many pixels."""


@dataclass(frozen=True, kw_only=True)
class DocumentFile:
    """A file that has pages. Holds no open file.

    Attributes:
        file: Where it is.
        is_pdf: By its name or its first bytes; otherwise it is a TIFF.
        signature: Which file it was, how long, and when it was changed.
        passwords: Those to try if it is an encrypted PDF.
    """

    file: FileSource
    is_pdf: bool
    signature: tuple[int, ...]
    passwords: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, file: FileSource, passwords: Iterable[str] = ()) -> Self:
        """Look at a file.

        Raises:
            PageNotFoundError: It cannot be opened, or is no regular file.
        """
        with _opened(file) as opened:
            is_pdf = str(file).lower().endswith(PDF_SUFFIX) or opened.read(len(PDF_SIGNATURE)) == PDF_SIGNATURE
            return cls(file=file, is_pdf=is_pdf, signature=_signature(opened), passwords=tuple(passwords))

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of its bytes, which are read once.

        Raises:
            PageNotFoundError: It cannot be read, or is not what it was.
        """
        known = _HASHES.get(self.signature)
        if known is None:
            with self._open() as file:
                known = hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]  # a file is one
                self._check(file)  # nobody wrote to it meanwhile
            _HASHES.put(self.signature, known)
        return known

    def n_pages(self, limits: ImageLimits) -> int:
        """Return how many pages it has.

        Raises:
            PageError: As `done`.
        """
        count: int = self.done(Describe(numbers=(), dpi=1, max_pixels=1), limits)[0]
        return count

    def facts(
        self, numbers: Sequence[int], *, dpi: float, limits: ImageLimits, text: bool
    ) -> list[PageFacts | InputError]:
        """Look at some pages without drawing them.

        Args:
            numbers: Which, from 0.
            dpi: At which they will be drawn.
            limits: What looking at all of them may cost; where that is too much, or ends processes, each.
            text: Whether to read their texts, too.

        Returns:
            What is known of each, or why nothing is.

        Raises:
            PageError: As `done`, about the file.
        """
        keys = [(self.signature, self.passwords, number, dpi, limits.max_pixels) for number in numbers]
        if not text and all(known := [_SHAPES.get(key) for key in keys]):
            return [facts for facts in known if facts is not None]
        job = Describe(numbers=tuple(numbers), dpi=dpi, max_pixels=limits.max_pixels, text=text)
        try:
            found: list[PageFacts | InputError] = self.done(job, limits)[1]
        except (BrokenPdfError, PageCostError) as error:  # one that ends its process takes no other along
            if len(numbers) == 1:
                return [error]
            return [each for number in numbers for each in self.facts([number], dpi=dpi, limits=limits, text=text)]
        for key, facts in zip(keys, found, strict=True):
            if isinstance(facts, PageFacts):
                _SHAPES.put(key, replace(facts, text="", label=""))
        return found

    def done(self, job: Job, limits: ImageLimits) -> Any:
        """Have a process do something with the file.

        Raises:
            PageNotFoundError: It cannot be opened, or is not what it was.
            BrokenPdfError: It is no PDF, or is damaged.
            EncryptedPdfError: No password opens it.
            PageCostError: It takes too long or too much memory.
            MissingExtraError: It is a PDF, and pypdfium2 is not installed.
            JinaVLLMError: The job's own.
        """
        if self.is_pdf and find_spec("pypdfium2") is None:
            raise MissingExtraError("pypdfium2", extra="pdf")
        label = str(self.file)
        opening = Opening(label=label, is_pdf=self.is_pdf, passwords=self.passwords, signature=self.signature)
        with self._open() as file:
            answer = PROCESSES.done(file.fileno(), opening, job, limits)
            self._check(file)  # nobody wrote to it while the job waited for its process, and was done
        if isinstance(answer, JinaVLLMError):
            raise answer
        return answer

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        with _opened(self.file) as file:
            self._check(file)
            yield file

    def _check(self, file: BinaryIO) -> None:
        if _signature(file) != self.signature:
            raise PageNotFoundError(
                f"a file with pages must stay as it was; {str(self.file)!r} was changed. Read it again, and leave it "
                "alone until it is embedded."
            )


class _Lately(Generic[_Key, _Value]):
    """What was asked for last, by everything that decides it.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        with self._lock:
            if key in self._of:
                self._of.move_to_end(key)
            return self._of.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        with self._lock:
            self._of[key] = value
            while len(self._of) > self._most:
                self._of.popitem(last=False)

    def fork(self) -> None:
        """Go on in a fork, where nobody will release a lock that another thread holds."""
        self._lock = Lock()


# Each page of a file asks for its hash; and each is looked at when it is read, and again when it is embedded.
_HASHES: _Lately[tuple[int, ...], bytes] = _Lately(4096)
_SHAPES: _Lately[_Shape, PageFacts] = _Lately(65_536)
for _lately in (_HASHES, _SHAPES):
    os.register_at_fork(after_in_child=_lately.fork)


def link_out(file: object) -> PageError:
    """Return the error about a file that was found in a folder, and is outside of it."""
    return PageError(
        f"what is found in a folder must be inside it once links are followed; {str(file)!r} leads to "
        f"{os.path.realpath(str(file))!r}. Name the file itself if it may be read, or remove the link."
    )


@contextmanager
def _opened(file: FileSource) -> Iterator[BinaryIO]:
    try:
        opened = open_file(file)
    except OutsideError as error:
        raise link_out(file) from error
    except (OSError, ValueError) as error:
        raise PageNotFoundError(
            f"a file with pages must be readable; {str(file)!r} cannot be opened "
            f"({getattr(error, 'strerror', None) or error}). Correct the path, or the file's permissions."
        ) from error
    with opened:
        yield opened


def _signature(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
