"""vLLM's options: the caller's, and the ones that make the vectors right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from jina_vllm_integrations.engines.adapters import adapter_options
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.vllm_plugin import ARCHITECTURE, STOCK_ARCHITECTURE

if TYPE_CHECKING:
    from jina_vllm_integrations.model.checkpoints import Checkpoint

Pooling = Literal["engine", "client"]

# Not the caller's to choose: one pooling task an engine, every token's raw state, nothing read from a prefix cache.
_OWN_OPTIONS = {"runner": "pooling", "enable_prefix_caching": False}
_RESERVED = {"model", "pooler_config", "convert", *_OWN_OPTIONS}
_RESERVED_OVERRIDES = {"architectures", "jina_projectors", "jina_tasks", "multi_vector_dim"}


# What only costs or saves time and memory. All others may change the vectors, those that a later vLLM brings as well.
_SAME_VECTORS = {
    *(
        "async_scheduling",
        "block_size",
        "compilation_config",
        "cuda_graph_sizes",
        "disable_log_requests",
        "disable_log_stats",
    ),
    *("distributed_executor_backend", "download_dir", "enable_chunked_prefill", "enforce_eager"),
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "limit_mm_per_prompt", "max_lora_rank", "max_loras"),
    *("max_model_len", "max_num_batched_tokens", "max_num_seqs", "max_parallel_loading_workers"),
    *("mm_processor_cache_gb", "num_gpu_blocks_override", "pipeline_parallel_size", "served_model_name"),
    *("scheduling_policy", "tensor_parallel_size", "use_tqdm_on_load"),
}
_GPUS_OF_AN_ENGINE = ("tensor_parallel_size", "pipeline_parallel_size", "prefill_context_parallel_size")
_SPREAD = "data_parallel_backend"


def check_options(options: Mapping[str, Any]) -> None:
    """Check a caller's options by name; vLLM checks the values when it starts.

    Raises:
        OptionError: The installed vLLM has no such option, or it is not the caller's to set.
    """
    if reserved := sorted(_RESERVED & options.keys()):
        raise OptionError(
            f"{', '.join(reserved)}: set by InProcessEngine itself, because the vectors depend on it. Leave it out."
        )
    if "data_parallel_size" in options:
        raise OptionError("data_parallel_size: write InProcessEngine(..., data_parallel=N).")
    from vllm import AsyncEngineArgs

    length = options.get("max_model_len", 1)
    if type(length) is not int or length < 1:
        raise OptionError(f"max_model_len must be a positive whole number, got {length!r}. Texts are checked with it.")
    overrides = options.get("hf_overrides", {})
    if not isinstance(overrides, Mapping):
        raise OptionError("hf_overrides must be a dict: this package reads it, too. Write the values out.")
    if reserved := sorted(_RESERVED_OVERRIDES & overrides.keys()):
        raise OptionError(
            f"hf_overrides {', '.join(reserved)}: set by InProcessEngine itself. See pooling= and projector=."
        )
    known = {field.name for field in fields(AsyncEngineArgs)}
    for name in options.keys() - known:
        similar = get_close_matches(name, known, n=1)
        hint = f"Did you mean {similar[0]!r}?" if similar else "See vLLM's engine arguments."
        raise OptionError(f"the installed vLLM has no engine option {name!r}. {hint}")


def vector_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caller's options that may change the vectors."""
    return {name: value for name, value in options.items() if name not in _SAME_VECTORS}


def full_options(
    checkpoint: Checkpoint, options: Mapping[str, Any], *, max_model_len: int, pooling: Pooling, data_parallel: int
) -> dict[str, Any]:
    """Return all options that an engine is started with.

    Args:
        checkpoint: What it serves.
        options: The caller's, which replace the defaults here.
        max_model_len: The longest prompt.
        pooling: Where pooling runs.
        data_parallel: How many GPUs compute, each for itself.
    """
    in_chunks = options.get("enable_chunked_prefill", True)
    return {
        "model": checkpoint.model,
        "max_model_len": max_model_len,
        "max_num_seqs": 256,
        "max_num_batched_tokens": max(_batch_tokens(), 0 if in_chunks else max_model_len),
        "scheduling_policy": "priority",
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        # Pages seldom come twice: hashing and keeping their pixels would cost more than it saves.
        "mm_processor_cache_gb": 0,
        "disable_log_stats": True,
        **(adapter_options(checkpoint.adapters) if checkpoint.adapters else {}),
        **(_several_engines(options, data_parallel) if data_parallel > 1 else {}),
        **_cuda_defaults(options),
        **options,
        **_compiled_encoder(options),
        **(_raw_pixels(options) if pooling == "engine" else {}),
        **_OWN_OPTIONS,
        "hf_overrides": {**options.get("hf_overrides", {}), **_model_class(checkpoint, pooling)},
    }


def _batch_tokens() -> int:
    """Return the tokens of a batch: enough to fill the device, few enough that a query does not wait long for it."""
    return 8192 if _is_cuda() else 2048


def _several_engines(options: Mapping[str, Any], data_parallel: int) -> dict[str, Any]:
    """Let an engine of one GPU compute in its own process, as it would alone: vLLM would start another one for it."""
    is_alone = all(options.get(name) in {None, 1} for name in _GPUS_OF_AN_ENGINE) and not options.get(_SPREAD)
    return {"data_parallel_size": data_parallel, **({"distributed_executor_backend": "uni"} if is_alone else {})}


def _cuda_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what pays on a GPU."""
    # vLLM's other executors refuse it.
    if not _is_cuda() or options.get("distributed_executor_backend") not in {None, "mp", "uni"}:
        return {}
    return {"async_scheduling": True}


def _compiled_encoder(options: Mapping[str, Any]) -> dict[str, Any]:
    """Compile the vision encoder, too, unless the caller compiles nothing or says otherwise."""
    given = options.get("compilation_config", {})
    if not _is_cuda() or options.get("enforce_eager") or not isinstance(given, Mapping):
        return {}
    return {"compilation_config": {"compile_mm_encoder": True, **given}}


def _is_cuda() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cuda())


def _raw_pixels(options: Mapping[str, Any]) -> dict[str, Any]:
    """Let pixels travel as bytes and be normalised by our model class, where vLLM's own does not do it: below 0.29."""
    from vllm import AsyncEngineArgs

    if any(field.name == "mm_device_do_normalize" for field in fields(AsyncEngineArgs)):
        return {}
    raw = {"do_rescale": False, "do_normalize": False}
    return {"mm_processor_kwargs": {**(options.get("mm_processor_kwargs") or {}), **raw}}


def _model_class(checkpoint: Checkpoint, pooling: Pooling) -> dict[str, Any]:
    """Choose the model class, and tell ours where the multi-vector head is."""
    if pooling == "client":
        return {"architectures": [STOCK_ARCHITECTURE]}
    if checkpoint.projector_file is None:
        return {"architectures": [ARCHITECTURE]}
    return {
        "architectures": [ARCHITECTURE],
        "jina_projectors": str(checkpoint.projector_file),
        "jina_tasks": list(checkpoint.token_tasks),
        "multi_vector_dim": checkpoint.token_dimensions,
    }
