"""Writes what a benchmark measured beside what it was measured on."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def record(name: str, figures: dict[str, Any]) -> None:
    """Print figures and write them, with the command and the machine, to ``results/NAME.json``."""
    document = {
        "command": f"python examples/benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}".strip(),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in ("numpy", "torch", "transformers")},
            "vllm": _vllm_version(),
        },
        **figures,
    }
    text = json.dumps(document, indent=1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def _vllm_version() -> str:
    # The build for CPUs has another distribution name.
    import vllm

    return str(vllm.__version__)
