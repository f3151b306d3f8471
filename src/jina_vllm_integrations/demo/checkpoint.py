"""The demo's checkpoint: prepared once into the user's cache, and checked each time it is asked for."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

from jina_vllm_integrations.errors import CheckpointError
from jina_vllm_integrations.foundation.cache import cache_directory
from jina_vllm_integrations.model.files import read_json, write_json

logger = logging.getLogger(__name__)

_BASE_REPO = Path(__file__).parent / "base_repo"
_PREPARATION = Path(__file__).parents[1] / "preparation"
# In the cache: the prepared directory, and beside it the SHA-256 of each of its files.
_CHECKPOINT = "checkpoint"
_RECORD = "sha256.json"


def demo_checkpoint() -> Path:
    """Return a tiny trained checkpoint of all tasks, prepared on first use.

    Its layout is that of jina-embeddings-v4, down to the adapters and the multi-vector head, and it runs anywhere.
    What it has learnt is a toy's: to find pictures like those of `demo_corpus`.

    It lies in the user's cache. What is there is compared, file for file, with what was prepared; if
    anything was lost, changed or added, all is prepared again, and a warning is logged.

    Returns:
        A directory for `InProcessEngine`: dense vectors of size 256, 128 or 64, token vectors of size 128.
    """
    home = _home()
    if _damaged_files(home):
        _prepare(home)
    return home / _CHECKPOINT


def checkpoint_directory() -> Path:
    """Return where `demo_checkpoint` is, or will be once it is asked for."""
    return _home() / _CHECKPOINT


def _home() -> Path:
    # Another version of the files, or of the code that prepares them, makes another checkpoint.
    sources = json.dumps([_digests(_BASE_REPO), _digests(_PREPARATION, "*.py")])
    return cache_directory() / f"demo-{hashlib.sha256(sources.encode()).hexdigest()[:12]}"


def _prepare(home: Path) -> None:
    from jina_vllm_integrations.preparation import prepare
    from jina_vllm_integrations.preparation.whole_directory import only_run, whole_directory

    home.parent.mkdir(parents=True, exist_ok=True)
    with only_run(home):
        if home.exists():
            damaged = _damaged_files(home)
            if not damaged:  # the run before has prepared it
                return
            logger.warning("%s is damaged: %s. It is prepared again.", home, ", ".join(damaged))
            shutil.rmtree(home)
        with whole_directory(home) as unfinished:
            prepare(_BASE_REPO, unfinished / _CHECKPOINT, all_tasks=True)
            write_json(unfinished / _RECORD, _digests(unfinished / _CHECKPOINT))


def _damaged_files(home: Path) -> list[str]:
    """Return the files that were lost, changed or added since the checkpoint was prepared."""
    try:
        prepared, found = read_json(home / _RECORD), _digests(home / _CHECKPOINT)
    except (CheckpointError, FileNotFoundError):  # not prepared, or just being removed by another run
        return [_RECORD]
    return sorted(name for name in prepared.keys() | found.keys() if prepared.get(name) != found.get(name))


def _digests(directory: Path, pattern: str = "*") -> dict[str, str]:
    """Return the SHA-256 of each file in a directory and below, by its name there."""
    files = sorted(path for path in directory.rglob(pattern) if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
