"""The multi-vector head: from a token's state to its vector for late interaction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import CheckpointError

if TYPE_CHECKING:
    import os

    from jina_vllm_integrations.types import FloatArray

# In a folder of its own: vLLM would take it for a part of the model's weights.
PROJECTOR_FILE = Path("multi_vector") / "projectors.safetensors"


@dataclass(frozen=True, kw_only=True)
class Projector:
    """One task's head, ``nn.Linear`` with bias and the task's adapter merged.

    Attributes:
        weight: *Shape:* ``(token_dimensions, hidden_size)``, float32.
        bias: *Shape:* ``(token_dimensions,)``, float32.
    """

    weight: FloatArray
    bias: FloatArray

    def project(self, states: FloatArray) -> FloatArray:
        """Map raw states to vectors that are not normalised yet.

        *Shape:* ``(n_tokens, hidden_size)`` to ``(n_tokens, token_dimensions)``, float32.
        """
        projected: FloatArray = states @ self.weight.T + self.bias
        return projected


def projector_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of projectors that a path means: the one in a prepared checkpoint's directory, or itself."""
    return Path(path) / PROJECTOR_FILE if Path(path).is_dir() else Path(path)


def read_projectors(path: str | os.PathLike[str]) -> dict[str, Projector]:
    """Read the heads of a prepared checkpoint, by task.

    Args:
        path: The file, or a prepared checkpoint's directory.

    Raises:
        CheckpointError: There is no such file, or it holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = projector_file(path)
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{str(file)!r} has no multi-vector projectors: {error}. "
            "Make a checkpoint that has them with: jina-vllm prepare jinaai/jina-embeddings-v4 OUT --task TASK"
        ) from error
    tasks = {name.rpartition(".")[0] for name in tensors}
    if {f"{task}.{part}" for task in tasks for part in ("weight", "bias")} != tensors.keys():
        raise CheckpointError(f"{str(file)!r} must hold TASK.weight and TASK.bias, got {', '.join(sorted(tensors))}.")
    return {task: Projector(weight=tensors[f"{task}.weight"], bias=tensors[f"{task}.bias"]) for task in sorted(tasks)}
