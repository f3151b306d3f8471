"""Copies of an adapter, which holds what cannot be copied."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel

from jina_vllm_integrations.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class CopiedBySettings(BaseModel):
    """A model whose copies are made anew from its settings, and checked like any.

    Attributes:
        shared: The fields that stay the caller's: copies share them, and they cannot leave the process.
        of_process: The fields that copies share, and that another process has its own of.
    """

    shared: ClassVar[frozenset[str]] = frozenset({"engine", "store", "cache"})
    of_process: ClassVar[frozenset[str]] = frozenset({"callback_manager"})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return another one with some settings changed.

        Raises:
            ValidationError: As when one is made.
        """
        settings = self._settings()
        if deep:
            kept = self.shared | self.of_process
            settings = {name: value if name in kept else deepcopy(value) for name, value in settings.items()}
        return type(self)(**{**settings, **(update or {})})

    def __copy__(self) -> Self:
        return self.model_copy()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy(deep=True)

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        settings = self._settings()
        kept = sorted(name for name in self.shared if settings.get(name) is not None)
        if kept:
            raise OptionError(
                f"what is pickled must be made without what cannot leave its process, got {' and '.join(kept)}. "
                "Pass model= and engine_options=, and open a store or cache where it is used."
            )
        return partial(type(self), **{name: settings[name] for name in settings.keys() - self.of_process}), ()

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}
