"""Texts and page images in Qdrant, each one point: a dense vector to find it, token vectors to rank it.

Embedded in this process, or on a server, with the same code::

    with QdrantIndex(encoder, "pages", path="index") as index:
        index.upsert([Path("invoice.png")], payloads=[{"page": 1}])
        (hit,) = index.search("Where is the total?")
"""

from __future__ import annotations

from jina_vllm_integrations.qdrant.collections import QdrantHit
from jina_vllm_integrations.qdrant.index import QdrantIndex

__all__ = ["QdrantHit", "QdrantIndex"]
