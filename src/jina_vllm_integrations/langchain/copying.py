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
    """

    shared: ClassVar[frozenset[str]] = frozenset({"engine", "store"})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return another one with some settings changed.

        Raises:
            ValidationError: As when one is made.
        """
        settings = self._settings()
        if deep:
            settings = {name: value if name in self.shared else deepcopy(value) for name, value in settings.items()}
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
                "Pass model= and engine_options=, and open a store where it is used."
            )
        return partial(type(self), **settings), ()

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}
