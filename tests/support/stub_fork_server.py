"""The real fork server with a renderer that needs no vLLM: a picture's colour says what becomes of its worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import SimpleNamespace

import numpy as np

from jina_vllm_integrations.engines.rendering import renderer
from jina_vllm_integrations.engines.rendering.fork_server import main

DEADLY, CLUMSY = (255, 0, 0), (0, 255, 0)


def stub_command(command):
    """Return what starts the stub instead of the fork server, with the same descriptor."""
    return [command[0], "-m", "stub_fork_server", command[-1]]


class StubRenderer:
    """Stands for Renderer: gives the pixels back, ends the process over one colour and raises over another.

    Args:
        options: ``mood`` says how it starts: ``"healthy"``, ``"broken"``, ``"endless"``, or ``"childless"``, whose
            forks end before they say hello.
    """

    def __init__(self, options):
        self._mood = options["mood"]
        if self._mood == "broken":
            os._exit(1)
        if self._mood == "endless":
            signal.pause()

    def renew_names(self):
        """Begin as a fork."""
        if self._mood == "childless":
            os._exit(1)

    def warm_up(self, token_ids):
        """Take a prompt to warm up with."""
        assert token_ids

    def render(self, image, token_ids):
        """Return the prompt, the pixels, and who rendered them."""
        page = image.load()
        if page.getpixel((0, 0)) == DEADLY:
            os._exit(1)
        if page.getpixel((0, 0)) == CLUMSY:
            raise ZeroDivisionError("clumsy")
        return {"prompt_token_ids": token_ids, "pixels": np.asarray(page), "pid": os.getpid()}


if __name__ == "__main__":
    # Nothing here is a tensor, and importing torch takes seconds.
    sys.modules["torch"] = SimpleNamespace(Tensor=type("Tensor", (), {}))
    renderer.Renderer = StubRenderer
    main(socket.socket(fileno=int(sys.argv[1])))
