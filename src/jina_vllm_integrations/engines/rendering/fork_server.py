"""The process that imports vLLM once and forks the workers, started as a module of its own.

Importing vLLM takes seconds and hundreds of megabytes. A fork has both at once and shares the memory, so workers are
cheap to start and to replace. It is a fresh program rather than a fork of the caller's, which has threads, or
``multiprocessing``'s, which imports the caller's script again.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

from jina_vllm_integrations.engines.rendering.worker import serve
from jina_vllm_integrations.foundation.channel import receive, receive_descriptor, send_object, unpack

if TYPE_CHECKING:
    from jina_vllm_integrations.engines.rendering.renderer import Renderer


def main(end: socket.socket) -> None:
    """Load a renderer for the options that come first, then fork a worker for each socket that comes.

    Ends, with all its workers, when the channel does.
    """
    from jina_vllm_integrations.engines.rendering.renderer import Renderer

    first = receive(end)
    if first is None:
        return
    options, token_ids = unpack(first)
    renderer = Renderer(options)
    renderer.warm_up(token_ids)
    send_object(end, os.getpid())
    # Of the threads here, all but this one are allocators' and progress bars', which no fork waits for.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # how a worker ended is seen at its channel
    while (theirs := receive_descriptor(end)) is not None:
        if os.fork() == 0:
            end.close()
            _work(socket.socket(fileno=theirs), renderer)
        os.close(theirs)
    _end_workers()


def _work(end: socket.socket, renderer: Renderer) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        serve(end, renderer)
    except BrokenPipeError:
        pass  # nobody waits for the answer any more
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(0)


def _end_workers() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    try:
        os.wait()
    except ChildProcessError:  # the last one has ended
        return


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
