"""The tiny engine and the texts that the CPU benchmarks share."""

from __future__ import annotations

import hashlib
from pathlib import Path

from jina_vllm_integrations.preparation import random_checkpoint

_DIGEST = hashlib.sha256(Path(random_checkpoint.__file__).read_bytes()).hexdigest()[:12]
_CACHE = Path(__file__).parents[2] / ".cache"
CHECKPOINT = str(random_checkpoint.write_random_checkpoint(_CACHE / f"random-checkpoint-{_DIGEST}"))
OPTIONS = {
    "dtype": "float32",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 256 * 2**20,
    "max_num_seqs": 256,
    "max_model_len": 4096,
    "use_tqdm_on_load": False,
}
# What InProcessEngine sets by itself with pooling="client", for a bare vLLM to be the same engine.
BARE_OPTIONS = {
    **OPTIONS,
    "model": CHECKPOINT,
    "runner": "pooling",
    "hf_overrides": {"architectures": ["Qwen2_5_VLForConditionalGeneration"]},
    "enable_prefix_caching": False,
    "mm_processor_cache_gb": 0,
    "limit_mm_per_prompt": {"image": 1, "video": 0},
    "disable_log_stats": True,
}


def texts(count: int) -> list[str]:
    """Return short texts, all different."""
    return [f"sentence number {number} about the weather in Berlin" for number in range(count)]
