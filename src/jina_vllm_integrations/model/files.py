"""Where a model's files are, and its JSON among them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def locate(model: str, files: Sequence[str], *, revision: str | None = None) -> Path:
    """Return a model's local directory.

    Args:
        model: A local directory, or a hub id whose files are fetched into the hub's cache.
        files: Names or patterns of the files to fetch.
        revision: Branch, tag or commit on the hub.

    Returns:
        The directory; for a hub id its name is the commit.

    Raises:
        CheckpointError: There is no such model, or it could not be fetched.
    """
    if Path(model).is_dir():
        return Path(model)
    if Path(model).exists() or not _HUB_ID.fullmatch(model):
        raise CheckpointError(
            f"a model is a directory or a hub id such as 'owner/name', got {model!r}, which is neither."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(files)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"no directory {model!r} exists, and its files could not be fetched from the hub: {error} "
            "Check the name, the network and your access token, or pass a local directory."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file.

    Raises:
        CheckpointError: The file is not there, or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} is not readable JSON: {error}. Fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} must hold a JSON object, got a {type(content).__name__}. Fetch it again.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file as people read it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
