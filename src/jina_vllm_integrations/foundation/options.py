"""Checks of what a caller chose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from jina_vllm_integrations.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise `OptionError` unless a value is one of a ``Literal``'s."""
    allowed = get_args(choices)
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Raise `OptionError` unless a value is a whole number from a least one."""
    if type(value) is not int or value < least:
        raise OptionError(f"{name} must be a whole number from {least:,}, got {value!r}.")


def check_new_files(files: Sequence[Path], *, overwrite: bool) -> None:
    """Raise `OptionError` unless files can be written, all into one folder."""
    folder = files[0].parent
    if not folder.is_dir():
        raise OptionError(f"the output's folder must exist, {str(folder)!r} does not. Make it first.")
    for file in files:
        if file.is_dir():
            raise OptionError(f"the output must be a file, {str(file)!r} is a folder. Choose another name.")
        if file.exists() and not overwrite:
            raise OptionError(f"{str(file)!r} exists. Choose another name, or pass --overwrite.")
