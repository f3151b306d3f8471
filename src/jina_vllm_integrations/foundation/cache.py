"""Where this package keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Return the user's cache for this package, whether or not it is there."""
    # Set to nothing means not set.
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jina-vllm-integrations"
