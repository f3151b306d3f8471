"""Python's garbage collector, in a process that has hundreds of requests in flight.

A request is dozens of objects until its vectors are here. By default the collector looks after every 700 new ones,
takes those in flight for old, and once enough have grown old, after some 2,500 texts, it goes through all objects that
there are. vLLM and torch bring most of a million, so that nothing is fed for as long as several batches take to
compute. None of it is garbage: what a request leaves is freed without the collector.
"""

from __future__ import annotations

import gc
import threading

# More than the requests in flight are, and a few MB where they are small objects.
_YOUNG_OBJECTS = 50_000


class Patience:
    """While somebody holds it, the collector looks after more new objects than by default.

    It still finds all that it would have found, only later, and ``gc.collect()`` at once. A threshold that is higher,
    or that turns it off, stays; so does one that is set meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = 0

    def take(self) -> None:
        """Hold it, once more if it is held."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._before, *others = gc.get_threshold()
                if 0 < self._before < _YOUNG_OBJECTS:
                    gc.set_threshold(_YOUNG_OBJECTS, *others)

    def give_back(self) -> None:
        """Hold it once less. After the last time the collector is as it was."""
        with self._lock:
            self._holders -= 1
            threshold, *others = gc.get_threshold()
            if self._holders == 0 and threshold == _YOUNG_OBJECTS:
                gc.set_threshold(self._before, *others)


PATIENCE = Patience()
