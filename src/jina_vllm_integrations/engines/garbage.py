"""Python's garbage collector, in a process that has hundreds of requests in flight.

A request is dozens of objects until its vectors are here. The collector looks after some hundred or thousand new ones,
takes those in flight for old, and once enough have grown old it goes through all objects that there are. vLLM and
torch bring most of a million, and meanwhile nothing is fed. None of it is garbage: what a request leaves is freed
without the collector (``examples/benchmarks/results/garbage_collection.json``).
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

# More than those of the requests in flight usually are, and a few MB where they are small.
_YOUNG_OBJECTS = 50_000


class CollectorThreshold:
    """How many new objects the collector waits for: more, while somebody holds it up.

    It still finds all that it would have found, only later, and ``gc.collect()`` at once. What is higher already, or
    turned off, stays; so does what is set meanwhile.

    Holds no lock: the collector can run at any line, and may end an engine that holds the threshold up, too.
    """

    def __init__(self) -> None:
        self._holders: set[Hashable] = set()
        self._before = 0

    def hold_up(self, holder: Hashable) -> None:
        """Raise it, until the holder lets go."""
        self._holders.add(holder)
        threshold, *others = gc.get_threshold()
        if 0 < threshold < _YOUNG_OBJECTS:
            self._before = threshold
            gc.set_threshold(_YOUNG_OBJECTS, *others)

    def let_go(self, holder: Hashable) -> None:
        """After the last holder it is as it was."""
        self._holders.discard(holder)
        threshold, *others = gc.get_threshold()
        if not self._holders and self._before and threshold == _YOUNG_OBJECTS:
            gc.set_threshold(self._before, *others)
            self._before = 0


COLLECTOR_THRESHOLD = CollectorThreshold()
