"""A process that opens strangers' documents for another one, started as a module of its own. Ends with the channel."""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import BrokenPdfError, JinaVLLMError
from jina_vllm_integrations.foundation.channel import receive, receive_descriptor, send_object, unpack
from jina_vllm_integrations.images.documents.opened import OpenedDocuments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jina_vllm_integrations.images.documents.jobs import Job, Opening

_LONGEST_IDLE_SECONDS = 60.0
_LOOK = 5.0  # seconds between two looks whether the owner is there: its forks hold its end of the channel, too

# What is asked for beyond the limit while its owner does not look. The kernel counts what is used; this, what is asked.
_SLACK_BYTES = 2**29
_MOST_BYTES = 2**62  # what a limit can be


def main(end: socket.socket) -> None:
    """Do jobs in their order, until the channel ends, its owner does, or none comes for long."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    documents = OpenedDocuments()
    while _comes(end):
        file = receive_descriptor(end)
        parcel = None if file is None else receive(end)
        if file is None or parcel is None:
            return
        opening, job, max_memory = unpack(parcel)
        with _limited(max_memory):
            answer = _answer(documents, file, opening, job)
        send_object(end, answer)


def _answer(documents: OpenedDocuments, file: int, opening: Opening, job: Job) -> Any:
    try:
        return job.do(documents.opened(file, opening))
    except JinaVLLMError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a decoder's own, and MemoryError, raised where the page came from
        return BrokenPdfError(
            f"a page must be complete, undamaged and within its limits; one of {opening.label!r} cannot be read "
            f"({error!r:.200}). Leave it out, or raise ImageLimits.max_page_memory."
        )


@contextmanager
def _limited(max_memory: int) -> Iterator[None]:
    """Let nothing be allocated that is far beyond the limit, whose owner ends the process a moment later."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, most = resource.getrlimit(resource.RLIMIT_AS)  # a cluster's own limit holds, and only root could raise it
    limits = (size + max_memory + _SLACK_BYTES, before, most, _MOST_BYTES)
    least = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (least, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _comes(end: socket.socket) -> bool:
    """Wait for a job, or the end of the channel; not for long, and not for an owner that is gone."""
    owner, waited = os.getppid(), 0.0
    poll = select.poll()
    poll.register(end, select.POLLIN)
    while not poll.poll(_LOOK * 1000):
        waited += _LOOK
        if waited >= _LONGEST_IDLE_SECONDS or os.getppid() != owner:
            return False
    return True


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
