"""The tiny engine and the texts that the CPU benchmarks share."""

from __future__ import annotations

from jina_vllm_integrations.demo import demo_checkpoint

CHECKPOINT = str(demo_checkpoint())
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
