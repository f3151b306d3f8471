"""Which adapter computes a task, where one engine serves several."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vllm.lora.request import LoRARequest

    from jina_vllm_integrations.types import Task


def adapter_options(adapters: Mapping[Task, Path]) -> dict[str, Any]:
    """Return the engine options that adapters need.

    One slot stays free: with all slots taken, vLLM on the CPU gives a request without an adapter one of them.
    """
    ranks = [json.loads((path / "adapter_config.json").read_text())["r"] for path in adapters.values()]
    return {"enable_lora": True, "max_loras": len(adapters) + 1, "max_lora_rank": _allowed_rank(max(ranks))}


def adapter_request(adapters: Mapping[Task, Path], task: Task) -> LoRARequest | None:
    """Return the adapter that a task's request names, ``None`` where it is merged into the weights."""
    if task not in adapters:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(task, list(adapters).index(task) + 1, str(adapters[task]))


def _allowed_rank(rank: int) -> int:
    """Round up to one of the sizes that vLLM makes slots for: powers of two."""
    return max(8, 1 << (rank - 1).bit_length())
