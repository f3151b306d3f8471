"""Token vectors on disk, computed once for each content, model and way to keep them.

::

    with TokenStore("vectors") as store:
        store.warm(encoder, Path("scans").rglob("*.png"), progress=True)
        reranker = LateInteractionReranker(encoder, store=store)
"""

from __future__ import annotations

from jina_vllm_integrations.token_store.store import TokenStore
from jina_vllm_integrations.token_store.warming import Warmed

__all__ = ["TokenStore", "Warmed"]
