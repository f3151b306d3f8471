"""The commands that are a few lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jina_vllm_integrations.cli.output import say

if TYPE_CHECKING:
    import argparse


def demo(_: argparse.Namespace) -> int:
    """Search a few pictures with a toy checkpoint, to see everything work."""
    # Without a GPU, vLLM would start a third process for its worker; this halves the demo's start.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from jina_vllm_integrations.demo import demo_corpus, demo_engine
    from jina_vllm_integrations.demo.search import format_search, score_corpus
    from jina_vllm_integrations.encoding.encoder import JinaEncoder

    say("A real vLLM runs a TOY: a tiny checkpoint in the layout of jina-embeddings-v4,")
    say("trained on drawn pages and scenes. It shows the whole way from pictures to a")
    say("search, and nothing of how well jina-embeddings-v4 searches.")
    say("Starting vLLM takes about half a minute ...\n")
    corpus = demo_corpus()
    with demo_engine() as engine:
        scores = score_corpus(JinaEncoder(engine, task="retrieval"), corpus)
    say(format_search(corpus, scores))
    return 0


def prepare(options: argparse.Namespace) -> int:
    """Make a directory that vLLM serves of the base repository and its adapters."""
    from jina_vllm_integrations import preparation

    chosen = {"task": options.task, "all_tasks": options.all_tasks, "revision": options.revision}
    out = preparation.prepare(options.src, options.out, **chosen, progress=not options.quiet)
    say(f"{out} is ready for {options.task or 'all tasks'}")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say what is wrong with the installation and what mends it."""
    from jina_vllm_integrations.cli.doctor import diagnose, format_findings

    findings = diagnose(options.model)
    say(format_findings(findings))
    return int(any(finding.status == "problem" for finding in findings))
