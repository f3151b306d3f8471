"""What a command says: its result on stdout, everything else on stderr."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line about the work."""
    sys.stderr.write(f"jina-vllm: {text}\n")
