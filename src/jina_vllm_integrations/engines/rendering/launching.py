"""The fork server's process, as its owner sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_SECONDS_TO_END = 10.0


def launch(end: socket.socket) -> subprocess.Popen[bytes]:
    """Start a fork server at one end of a channel.

    It does not look for modules in the working directory, where anything may lie.

    Raises:
        OSError: The machine has no room for another process.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "jina_vllm_integrations.engines.rendering.fork_server", str(end.fileno())],
        env=_environment(),
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__,  # a command's output is its own
        start_new_session=True,  # Ctrl-C is for the caller, who hangs up
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a fork server whose channel was closed: it ends its workers first."""
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it at once. Its workers end with their channels."""
    process.kill()
    process.wait()


def _environment() -> dict[str, str]:
    """One thread each, the packages that this process finds, and vLLM's log only where it says something new."""
    return {
        "VLLM_LOGGING_LEVEL": "ERROR",
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TOKENIZERS_PARALLELISM": "false",
    }
