"""Processes of this program's own, each at the other end of a channel (`channel`)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping


def launch(module: str, end: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a module as a program of its own, whose argument is the descriptor of its end of a channel.

    It is a fresh program rather than a fork of the caller's, which has threads, or ``multiprocessing``'s, which imports
    the caller's script again. It finds the packages that this process finds, but does not look for modules in the
    working directory, where anything may lie.

    Args:
        module: Which.
        end: The channel's other end, which stays the caller's to close.
        environment: What is added to the caller's, or replaces it there.

    Raises:
        OSError: The machine has no room for another process.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(end.fileno())],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__,  # a command's output is its own
        start_new_session=True,  # Ctrl-C is for the caller, who hangs up
    )
