"""What runs inside vLLM: the model class and its pooler. The only place that touches vLLM's internals.

vLLM calls `register` through the entry point group ``vllm.general_plugins``, in each of its processes and possibly
several times.
"""

from __future__ import annotations

ARCHITECTURE = "JinaEmbeddingsV4ForVLLM"
STOCK_ARCHITECTURE = "Qwen2_5_VLForConditionalGeneration"


def register() -> None:
    """Tell vLLM where the model class is. It is imported by the process that loads the model, not by this one."""
    from vllm import ModelRegistry

    ModelRegistry.register_model(ARCHITECTURE, "jina_vllm_integrations.vllm_plugin.model:JinaEmbeddingsV4ForVLLM")
