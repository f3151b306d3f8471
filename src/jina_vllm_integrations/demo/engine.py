"""An engine of the demo's checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.demo.checkpoint import checkpoint_directory, demo_checkpoint

if TYPE_CHECKING:
    from jina_vllm_integrations.engines.in_process import InProcessEngine

_SMALL_MACHINE = {
    "dtype": "float32",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 256 * 2**20,
    "use_tqdm_on_load": False,
}


def demo_engine(**options: Any) -> InProcessEngine:
    """Return an engine of `demo_checkpoint`, set for a small machine without a GPU.

    As with any `InProcessEngine`, vLLM starts with the first encode.

    Args:
        **options: Those of `InProcessEngine`, vLLM's among them. They replace the ones set here.

    Raises:
        OptionError: There is no such option or value, or it is not the caller's to set.
        MissingExtraError: vLLM is not installed.

    Example:
        >>> with demo_engine(max_model_len=512) as engine:
        ...     vectors = JinaEncoder(engine, task="retrieval").embed(["a red star"], role="query")
    """
    from jina_vllm_integrations.engines.in_process import InProcessEngine

    # The engine comes first: what it refuses is told before anything is written.
    engine = InProcessEngine(checkpoint_directory(), **{**_SMALL_MACHINE, **options})
    demo_checkpoint()
    return engine
