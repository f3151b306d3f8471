"""What torch computes on.

Not to be asked in a process that is to start vLLM: the answer opens CUDA, and an engine that vLLM forks has none then.
"""

from __future__ import annotations

import torch


def device() -> str:
    """Return ``"cuda"`` or ``"cpu"``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """Return the GPU's name."""
    return torch.cuda.get_device_name() if device() == "cuda" else "CPU"
