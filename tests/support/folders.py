"""What lies in a folder."""

from __future__ import annotations


def files(folder):
    """Return the names of the files in a folder that were not there before."""
    return sorted(path.name for path in folder.iterdir() if path.name != "in")


CHOSEN = ["--model", "m", "--task", "code", "--role", "document", "--quiet"]
