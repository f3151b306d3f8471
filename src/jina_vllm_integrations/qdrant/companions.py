"""What a caller passes beside the items: payloads, ids."""

from __future__ import annotations

from collections.abc import Iterable, Sized

from jina_vllm_integrations.errors import InputError


class Companions:
    """An iterable of values, one an item, that is read as the items are.

    Args:
        values: ``None`` where the caller passed none.
        name: Of one value, for messages.
        remedy: What to do about too few.
    """

    def __init__(self, values: Iterable[object] | None, *, name: str, remedy: str) -> None:
        self._n_values = len(values) if isinstance(values, Sized) else None
        self._values = None if values is None else iter(values)
        self._name = name
        self._remedy = remedy

    def check_number(self, items: object) -> None:
        """Raise `InputError` where it is already known that the values are not as many as the items."""
        if self._n_values is not None and isinstance(items, Sized) and len(items) != self._n_values:
            raise InputError(
                f"there must be one {self._name} an item, got {self._n_values} for {len(items)}. {self._remedy}"
            )

    def take(self, default: object) -> object:
        """Return the next item's value, or a default where the caller passed none.

        Raises:
            InputError: There are fewer values than items.
        """
        if self._values is None:
            return default
        for value in self._values:
            return value
        raise InputError(f"there must be one {self._name} an item, and this one has none. {self._remedy}")

    def check_end(self) -> None:
        """Raise `InputError` where values are left after the last item."""
        if self._values is not None and next(self._values, None) is not None:
            raise InputError(
                f"there must be one {self._name} an item, and there are more {self._name}s. Leave them out."
            )
