"""The options of the session's vLLM, which engines of equal options share."""

from __future__ import annotations

MAX_TOKENS = 2048
ENGINE_OPTIONS = {
    "dtype": "float32",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 128 * 2**20,
    "max_model_len": MAX_TOKENS,
    # Smaller than a page or a long text: prompts are prefilled in chunks.
    "max_num_batched_tokens": 512,
    "max_num_seqs": 64,
    "use_tqdm_on_load": False,
}
