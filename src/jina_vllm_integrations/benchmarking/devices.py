"""The device that computes: its name, its memory in use, its peak.

The peak is measured in an interpreter of its own: this module, run with ``-m``. What it took of the GPU's memory is
free again when vLLM starts.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from jina_vllm_integrations.errors import OptionError

_SIDE = 8192
_WARM_UP = 10
_ROUNDS = 50


@dataclass(frozen=True, kw_only=True)
class Device:
    """What computes.

    Attributes:
        name: Of the GPUs, or ``"CPU"``.
        cores: Of this machine's CPU.
        peak_tflops: In 10^12 operations a second; ``None`` where it is not known.
        peak_source: Where the peak is from.
    """

    name: str
    cores: int | None
    peak_tflops: float | None
    peak_source: Literal["given", "measured"] | None


def find_device(peak_tflops: float | None = None, *, gpus: int = 1) -> Device:
    """Return the device, and measure what it can do in bfloat16 unless that is given.

    Call it before vLLM starts.

    Args:
        peak_tflops: The peak of all that compute together, if it is known.
        gpus: How many GPUs compute, which are taken to be alike: one is measured.

    Raises:
        OptionError: There is a GPU, and its peak could not be measured.
    """
    name = ", ".join(_nvidia_smi("name") or ["CPU"])
    source: Literal["given", "measured"] | None = "given" if peak_tflops else None
    if peak_tflops is None and name != "CPU":
        peak_tflops, source = gpus * _peak_in_child(), "measured"
    return Device(name=name, cores=os.cpu_count(), peak_tflops=peak_tflops, peak_source=source)


def gpu_memory_mib() -> float | None:
    """Return the memory in use on the visible GPUs together, by whomever; ``None`` where there is no NVIDIA GPU."""
    used = _nvidia_smi("memory.used")
    return sum(map(float, used)) if used else None


def _nvidia_smi(fact: str) -> list[str]:
    """Return a fact of each visible GPU, none where the driver's program is not there or knows no GPU."""
    program = shutil.which("nvidia-smi")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None or visible == "":
        return []
    command = [program, f"--query-gpu={fact}", "--format=csv,noheader,nounits"]
    if visible is not None:
        command.append(f"--id={visible}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _peak_in_child() -> float:
    # -P keeps a directory that is called torch, say, where the command happens to run, out of the way.
    command = [sys.executable, "-P", "-m", "jina_vllm_integrations.benchmarking.devices"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise OptionError(f"the GPU's peak could not be measured: {reason}. Give it with --peak-tflops (peak_tflops).")
    peak: float = json.loads(done.stdout)
    return peak


def _measured_peak() -> float:
    """Return the operations of a large bfloat16 product of random matrices, in 10^12 a second (median)."""
    import torch

    # Random, because a GPU multiplies zeros faster: they cost less power.
    left, right = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    milliseconds = []
    for _ in range(_WARM_UP + _ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        left @ right
        end.record()
        torch.cuda.synchronize()
        milliseconds.append(start.elapsed_time(end))
    return 2 * _SIDE**3 / float(statistics.median(milliseconds[_WARM_UP:])) / 1e9


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measured_peak()))
