"""A Chroma server, as its own command starts it."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager
from threading import Event, Thread

COMMAND = "import sys; from chromadb.cli.cli import app; sys.argv[0] = 'chroma'; app()"


@contextmanager
def chroma_server(folder):
    """Start a server on a free port, give the port, and end it."""
    port = _free_port()
    options = ["run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-c", COMMAND, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        listens, said = Event(), []
        reader = Thread(target=_read, args=(server.stdout, said, listens))
        reader.start()
        try:
            assert listens.wait(60) and server.poll() is None, "".join(said)  # noqa: PT018 - one reason to show
            yield port
        finally:
            server.kill()  # its files go, too
            reader.join()


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _read(output, said, listens):
    """Take all that it says, as it waits for its reader, and tell when it listens, or has ended."""
    for line in output:
        said.append(line)
        if "server listening" in line:
            listens.set()
    listens.set()
