"""How vLLM starts its processes, where a fork of this one could not use CUDA."""

from __future__ import annotations

import logging
import multiprocessing
import os

_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
_SECONDS = 10.0

logger = logging.getLogger(__name__)


def spare_cuda() -> None:
    """Have vLLM spawn its processes if forks of this one have no CUDA. Call it before vLLM starts.

    vLLM sees to it by itself once CUDA is initialised here. But forks have none either after the first
    ``torch.cuda.is_available()``, unless vLLM was imported before.
    """
    import torch
    from vllm.platforms import current_platform

    forks = current_platform.is_cuda() and os.environ.get(_METHOD, "fork") == "fork"
    if forks and not torch.cuda.is_initialized() and not _fork_has_cuda():
        logger.warning(
            "forks of this process cannot use CUDA: most likely torch.cuda.is_available() was called before vLLM was "
            "imported. vLLM spawns its processes instead, which takes longer, and needs a script's work to be under: "
            "if __name__ == '__main__'. To avoid it, import vllm first."
        )
        os.environ[_METHOD] = "spawn"


def _fork_has_cuda() -> bool:
    # Only a fork knows.
    fork = multiprocessing.get_context("fork").Process(target=_tell_whether_cuda_is_lost)
    fork.start()
    fork.join(_SECONDS)
    if fork.exitcode is None:  # it waits for a lock that some thread held here, as vLLM's own fork might
        fork.kill()
        fork.join()
    return fork.exitcode == 0


def _tell_whether_cuda_is_lost() -> None:
    import torch

    # Without exit handlers: they are the parent's.
    os._exit(int(torch.cuda._is_in_bad_fork()))  # noqa: SLF001 - torch has no public name for it
