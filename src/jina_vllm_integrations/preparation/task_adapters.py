"""The base repository's LoRA adapters: three tasks in one file, merged into weights or parted into PEFT directories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from jina_vllm_integrations.errors import CheckpointError
from jina_vllm_integrations.model.files import read_json, write_json
from jina_vllm_integrations.preparation.base_repo import ADAPTER_CONFIG, ADAPTER_WEIGHTS, LINEARS, PROJECTOR
from jina_vllm_integrations.preparation.tensor_files import FLOATS, encode, read_tensors, write_tensors
from jina_vllm_integrations.types import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from jina_vllm_integrations.preparation.tensor_files import Bits, StoredTensor, Tensor
    from jina_vllm_integrations.types import FloatArray

TASKS: tuple[Task, ...] = get_args(Task)
# What would make the adapted weight another than W + alpha / r * B @ A.
_OTHER_ARITHMETIC = ("alpha_pattern", "fan_in_fan_out", "lora_bias", "rank_pattern", "use_dora", "use_rslora")


@dataclass(frozen=True, kw_only=True)
class MergedTensor:
    """A weight with an adapter merged into it, computed when it is asked for.

    Attributes:
        base: W. *Shape:* ``(out, in)``.
        down: A. *Shape:* ``(rank, in)``.
        up: B. *Shape:* ``(out, rank)``.
        scale: Of the product.
    """

    base: StoredTensor
    down: StoredTensor
    up: StoredTensor
    scale: float

    @property
    def dtype(self) -> str:
        """That of the base."""
        return self.base.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the base."""
        return self.base.shape

    @property
    def nbytes(self) -> int:
        """That of the base."""
        return self.base.nbytes

    def bits(self) -> Bits:
        """Return `float32` rounded once to ``dtype``. *Shape:* ``(nbytes,)``."""
        return encode(self.float32(), self.dtype)

    def float32(self) -> FloatArray:
        """Return ``W + scale * B @ A``. *Shape:* ``shape``.

        Raises:
            CheckpointError: A value is infinite or not a number.
        """
        up = self.up.float32()
        up *= self.scale
        merged: FloatArray = up @ self.down.float32()
        merged += self.base.float32()
        if not np.isfinite(merged).all():
            raise CheckpointError(
                f"a weight of {str(self.base.path)!r} or {str(self.down.path)!r} is not finite. Fetch them again."
            )
        return merged


@dataclass(frozen=True, kw_only=True)
class TaskAdapters:
    """The adapters of all tasks, read as far as their header.

    Attributes:
        rank: Of every adapter.
        alpha: Over the rank, the scale of every adapter.
        tensors: By their names in the file.
    """

    rank: int
    alpha: float
    tensors: dict[str, StoredTensor]

    @classmethod
    def read(cls, repo: Path) -> TaskAdapters:
        """Read a base repository's adapters. Their weights are not read, nor compared with the model's.

        Raises:
            CheckpointError: A file is damaged, or asks for more than plain LoRA.
        """
        config = read_json(repo / ADAPTER_CONFIG)
        rank, alpha = config.get("r"), config.get("lora_alpha")
        if not isinstance(rank, int) or not isinstance(alpha, (int, float)) or rank < 1:
            raise CheckpointError(
                f"an adapter has a rank 'r' of at least 1 and a 'lora_alpha', {str(repo / ADAPTER_CONFIG)!r} has "
                f"r={rank!r} and lora_alpha={alpha!r}. Fetch it again."
            )
        other = [name for name in _OTHER_ARITHMETIC if config.get(name)]
        if other:
            raise CheckpointError(
                f"adapters are merged as plain LoRA, {str(repo / ADAPTER_CONFIG)!r} sets {', '.join(other)}. "
                "Name a repository without."
            )
        return cls(rank=rank, alpha=alpha, tensors=read_tensors(repo / ADAPTER_WEIGHTS))

    def problems(self, weights: Mapping[str, StoredTensor]) -> Iterator[str]:
        """Say what is missing, unexpected or of the wrong shape among the adapters.

        Args:
            weights: What is adapted, by the module's name.
        """
        expected = {}
        for module, weight in weights.items():
            rows, columns = weight.shape
            for task in TASKS:
                expected[_name(module, "A", task)] = (self.rank, columns)
                expected[_name(module, "B", task)] = (rows, self.rank)
        yield from (f"{name} is missing" for name in expected if name not in self.tensors)
        for name, tensor in self.tensors.items():
            if name not in expected:
                yield f"{name} belongs to no weight and task"
            elif tensor.shape != expected[name]:
                yield f"{name} has the shape {tensor.shape}, not {expected[name]}"
            elif tensor.dtype not in FLOATS:
                yield f"{name} is stored as {tensor.dtype}, not as one of {', '.join(FLOATS)}"

    def merge(self, base: StoredTensor, module: str, task: Task) -> MergedTensor:
        """Return a weight with a task's adapter merged into it."""
        return MergedTensor(
            base=base,
            down=self.tensors[_name(module, "A", task)],
            up=self.tensors[_name(module, "B", task)],
            scale=self.alpha / self.rank,
        )

    def write_peft(self, directory: Path, task: Task) -> None:
        """Write a task's adapter of the language model as PEFT and vLLM read it.

        The projector's is left out: vLLM adapts none but the model's own linear layers.

        Args:
            directory: A new directory.
            task: Which adapter.
        """
        directory.mkdir(parents=True)
        config: dict[str, Any] = {
            "peft_type": "LORA",
            "task_type": "FEATURE_EXTRACTION",
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted(linear.rpartition(".")[2] for linear in LINEARS),
            # The vision encoder has layers of the same names.
            "exclude_modules": ".*visual.*",
        }
        write_json(directory / "adapter_config.json", config)
        tensors: dict[str, Tensor] = {
            name.replace(f".{task}.weight", ".weight"): tensor
            for name, tensor in self.tensors.items()
            if name.endswith(f".{task}.weight") and PROJECTOR not in name
        }
        write_tensors(directory / "adapter_model.safetensors", tensors)


def _name(module: str, part: str, task: Task) -> str:
    home = "" if module == PROJECTOR else "model.language_model."
    return f"base_model.model.{home}{module}.lora_{part}.{task}.weight"
