"""How much memory this process and its children take."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc")
# Reading what a large process maps takes milliseconds, in which it waits.
_SECONDS_BETWEEN = 1.0
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
# The name of a program, in parentheses, may hold spaces and parentheses; its state and its parent's id come after.
_PARENT = re.compile(r".*\) \S (\d+)", re.DOTALL)


class PeakMemory:
    """Looks at the memory once a second while its block runs, and when it ends.

    Attributes:
        mib: The most that was seen, in MiB: proportional set sizes (PSS), which count shared pages once. ``None``
            where the system does not tell them.
    """

    def __init__(self) -> None:
        self.mib: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ended.wait(_SECONDS_BETWEEN)
            try:
                seen = sum(map(_pss_kib, _family())) / 1024
            except PermissionError:
                return
            if seen:
                self.mib = max(seen, self.mib or 0)


def _family() -> Iterator[str]:
    """Yield the ids of this process and of those that it started, directly or not."""
    children: dict[str, list[str]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if found := _PARENT.match(stat.read_text(errors="replace")):
                children.setdefault(found[1], []).append(stat.parent.name)
    waiting = [str(os.getpid())]
    while waiting:
        yield (process := waiting.pop())
        waiting += children.get(process, [])


def _pss_kib(process: str) -> int:
    try:
        found = _PSS.search((_PROC / process / "smaps_rollup").read_text())
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile, or the system has no such file
        return 0
    return int(found[1]) if found else 0
