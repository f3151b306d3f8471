"""What a model is, in a few characters: which vectors may be kept for which."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_vllm_integrations.model.checkpoints import Checkpoint

# Weights, and what decides how they are used: configurations, vocabularies, merges.
_SUFFIXES = {".json", ".model", ".safetensors", ".txt"}
# Grows when this package itself would compute other vectors from the same model.
_SEMANTICS = 2
_CHUNK = 2**24


def fingerprint(checkpoint: Checkpoint, options: Mapping[str, Any]) -> str:
    """Return another string for another model, other weights or other options.

    A local model is known by the content of all its files, whatever they are called, wherever they lie and whenever
    they were written. A hub's is known by its id and commit. The hash guards against mistakes, not against somebody
    who makes two models alike on purpose.

    Args:
        checkpoint: The model.
        options: What else decides the vectors.
    """
    facts = {
        "semantics": _SEMANTICS,
        "model": _contents(Path(checkpoint.model))
        if Path(checkpoint.model).is_dir()
        else [checkpoint.model, checkpoint.path.name],
        "projectors": None if checkpoint.projector_file is None else _digest(checkpoint.projector_file),
        "options": options,
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(facts, sort_keys=True, default=repr).encode())


def _contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of_state(path.resolve(), status.st_size, status.st_mtime_ns)


@cache
def _digest_of_state(path: Path, _size: int, _mtime_ns: int) -> str:
    """Hash a file, once for each state that it was seen in."""
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
