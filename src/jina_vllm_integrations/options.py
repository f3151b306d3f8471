"""Checks of what a caller chose."""

from __future__ import annotations

from typing import Any, get_args

from jina_vllm_integrations.errors import OptionError


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise `OptionError` unless a value is one of a ``Literal``'s."""
    allowed = get_args(choices)
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Raise `OptionError` unless a value is a whole number from a least one."""
    if type(value) is not int or value < least:
        raise OptionError(f"{name} must be a whole number from {least:,}, got {value!r}.")
