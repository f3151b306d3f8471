"""The processes that open strangers' documents, as their owner sees them: few, watched, and replaced."""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import BrokenPdfError, PageCostError
from jina_vllm_integrations.foundation import channel
from jina_vllm_integrations.foundation.cores import available_cores
from jina_vllm_integrations.foundation.launching import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_vllm_integrations.images.documents.jobs import Job, Opening
    from jina_vllm_integrations.images.limits import ImageLimits

# As many as there are render processes by default, at most.
_MOST = 8

_LOOK = 0.02  # seconds between two looks at a process that is at work
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_GRACE = 1.0
_TRIES = 2


class _EndedError(Exception):
    """A process ended before it answered."""


class _Process:
    """A process, and the document that it has open.

    Attributes:
        signature: Of the document that it opened last.
        was_idle: Whether it waited for its job.
    """

    def __init__(self) -> None:
        self._end, theirs = channel.connection()
        with theirs:
            environment = {"OMP_NUM_THREADS": "1"}
            self._process = launch("jina_vllm_integrations.images.documents.process", theirs, environment)
        self.signature: tuple[int, ...] | None = None
        self.was_idle = False

    def done(self, file: int, opening: Opening, job: Job, limits: ImageLimits) -> Any:
        """Have it do a job, and return its answer.

        Raises:
            PageCostError: It took too long, or too much memory; it was ended.
            _EndedError: It ended by itself.
        """
        self.signature = opening.signature
        try:
            channel.send_descriptor(self._end, file)
            channel.send_object(self._end, (opening, job, limits.max_page_memory))
        except OSError as error:  # it had been idle for long
            raise _EndedError from error
        self._wait(opening, limits)
        parcel = channel.receive(self._end)
        if parcel is None:
            raise _EndedError
        return channel.unpack(parcel)

    def end(self) -> int:
        """End it, and return how it ended."""
        self._end.close()  # one that is idle, or ends already, sees it and ends by itself
        try:
            return self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once."""
        self._end.close()
        self._process.kill()
        return self._process.wait()

    def forget(self) -> None:
        """Let go of it in a fork, whose it is not."""
        self._end.close()
        self._process.returncode = 0

    def _wait(self, opening: Opening, limits: ImageLimits) -> None:
        """Wait for the answer, or the end."""
        answer = select.poll()
        answer.register(self._end, select.POLLIN)
        last = time.monotonic() + limits.max_page_seconds
        while not answer.poll(_LOOK * 1000):
            if time.monotonic() > last:
                raise PageCostError(
                    f"a page may take {limits.max_page_seconds:g} s to read or draw; one of {opening.label!r} took "
                    "longer. Leave it out, or raise ImageLimits.max_page_seconds."
                )
            if self._memory() > limits.max_page_memory:
                raise PageCostError(
                    f"a page may take {limits.max_page_memory:,} bytes of memory to read or draw; one of "
                    f"{opening.label!r} took more. Leave it out, or raise ImageLimits.max_page_memory."
                )

    def _memory(self) -> int:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):  # it is ending, which is seen at the channel
            return 0
        return int(pages) * _PAGE_BYTES


class Processes:
    """Up to so many processes, each started when all others are at work. May be used by many threads at once.

    One that has nothing to do ends after a while, and all end with this process.

    Args:
        size: How many at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._n_free = size
        self._idle: list[_Process] = []
        self._changed = threading.Condition()

    def done(self, file: int, opening: Opening, job: Job, limits: ImageLimits) -> Any:
        """Have a process do a job with an open file, and return its answer.

        Args:
            file: The file's descriptor.
            opening: How it is opened.
            job: What to do.
            limits: What it may cost.

        Raises:
            PageCostError: It took too long, or too much memory.
            BrokenPdfError: Processes ended over it.
        """
        died: list[int] = []
        while len(died) < _TRIES:
            process = self._taken(opening.signature)
            try:
                answer = process.done(file, opening, job, limits)
            except _EndedError:
                code = self._dropped(process.end)
                if not process.was_idle or code:  # one that was idle for long may have ended well, and then only once
                    died.append(code)
            except BaseException:
                self._dropped(process.kill)
                raise
            else:
                self._give_back(process)
                return answer
        raise BrokenPdfError(
            f"a page must not break who draws it; {_TRIES} processes died over {opening.label!r} "
            f"({', '.join(map(_manner, died))}). Leave it out: it is damaged, made to do harm, or needs more memory "
            "than ImageLimits.max_page_memory."
        )

    def close(self) -> None:
        """End those that are idle."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._n_free += len(idle)
        for process in idle:
            process.kill()

    def forget(self) -> None:
        """Begin anew in a fork: what its parent started is the parent's, and some thread may hold the lock there."""
        for process in self._idle:
            process.forget()
        self._idle, self._n_free, self._changed = [], self._size, threading.Condition()

    def _taken(self, signature: tuple[int, ...]) -> _Process:
        """Return a process: one that has the document open, or that is idle, or another one, or else wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._n_free)
            if self._idle:
                same = (process for process in self._idle if process.signature == signature)
                process = next(same, self._idle[0])
                self._idle.remove(process)
                return process
            self._n_free -= 1
        try:
            return _Process()
        except BaseException:
            self._free()
            raise

    def _give_back(self, process: _Process) -> None:
        process.was_idle = True
        with self._changed:
            self._idle.append(process)
            self._changed.notify()

    def _dropped(self, end: Callable[[], int]) -> int:
        try:
            return end()
        finally:
            self._free()

    def _free(self) -> None:
        with self._changed:
            self._n_free += 1
            self._changed.notify()


def _manner(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


PROCESSES = Processes(max(1, min(_MOST, available_cores() // 2)))
"""This process's."""

atexit.register(PROCESSES.close)
os.register_at_fork(after_in_child=PROCESSES.forget)
