"""A toy to try everything with: a tiny trained checkpoint in the real layout, and pictures to search."""

from __future__ import annotations

from jina_vllm_integrations.demo.checkpoint import demo_checkpoint
from jina_vllm_integrations.demo.corpora import DemoCorpus, DemoDocument, DemoQuery, demo_corpus
from jina_vllm_integrations.demo.engine import demo_engine

__all__ = ["DemoCorpus", "DemoDocument", "DemoQuery", "demo_checkpoint", "demo_corpus", "demo_engine"]
