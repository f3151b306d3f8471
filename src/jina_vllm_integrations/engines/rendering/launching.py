"""The fork server's process, as its owner sees it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from jina_vllm_integrations.foundation import launching

if TYPE_CHECKING:
    import socket

_SECONDS_TO_END = 10.0


def launch(end: socket.socket) -> subprocess.Popen[bytes]:
    """Start a fork server at one end of a channel.

    Raises:
        OSError: The machine has no room for another process.
    """
    return launching.launch("jina_vllm_integrations.engines.rendering.fork_server", end, _environment())


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
    """One thread each, and vLLM's log only where it says something new."""
    level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")
    return {"VLLM_LOGGING_LEVEL": level, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
