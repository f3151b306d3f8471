"""A tracer of LangChain's that keeps what it is told."""

from __future__ import annotations

from langchain_core.tracers.base import BaseTracer


class Runs(BaseTracer):
    """Keeps the runs that have no parent, each with its children.

    Attributes:
        roots: In the order in which they ended.
    """

    def __init__(self):
        super().__init__()
        self.roots = []

    def _persist_run(self, run):
        self.roots.append(run)


def names_of_runs(runs):
    """Return what runs are called, in the order in which they began."""
    return [run.name for run in runs]
