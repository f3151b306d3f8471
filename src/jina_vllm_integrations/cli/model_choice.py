"""The engine of the model that a command was given: one by name, or the demo's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from jina_vllm_integrations.engines.in_process import InProcessEngine


def open_engine(options: argparse.Namespace) -> InProcessEngine:
    """Return the engine of ``--model`` or ``--demo`` with the options of ``--engine-option``."""
    if not options.demo:
        from jina_vllm_integrations.engines.in_process import InProcessEngine

        return InProcessEngine(options.model, **dict(options.engine_option))
    # As in the command ``demo``: vLLM starts in half the time.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from jina_vllm_integrations.demo import demo_engine

    return demo_engine(**dict(options.engine_option))
