"""What must not start a vLLM of its own: a worker process that was handed an adapter."""

from __future__ import annotations

import multiprocessing

from jina_vllm_integrations.errors import EngineStartError


def worker_process() -> str | None:
    """Return the name of this process where another one started it through `multiprocessing`; ``None`` elsewhere."""
    return None if multiprocessing.parent_process() is None else multiprocessing.current_process().name


def check_may_start(worker: str | None) -> None:
    """Raise `EngineStartError` for what was unpickled in a worker process."""
    if worker is not None:
        raise EngineStartError(
            f"what was pickled starts no engine in a worker process, got one in {worker!r}: each worker would load the "
            "model into the same GPU. Run an IngestionPipeline without num_workers, by run or arun: vLLM batches "
            "by itself. A worker with a GPU of its own makes its embedding itself."
        )
