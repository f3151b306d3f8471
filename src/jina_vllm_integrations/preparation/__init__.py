"""From the base repository ``jinaai/jina-embeddings-v4`` to a directory that vLLM serves."""

from __future__ import annotations

from jina_vllm_integrations.preparation.preparing import prepare

__all__ = ["prepare"]
