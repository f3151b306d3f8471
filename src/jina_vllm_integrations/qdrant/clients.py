"""Where a Qdrant is, and the client that reaches it."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jina_vllm_integrations.errors import MissingExtraError, OptionError, StoreInUseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from qdrant_client import QdrantClient

_MEMORY = ":memory:"
_TIMEOUT_SECONDS = 60  # The client's default of 5 is short for requests of 32 MB.

# The embedded Qdrant takes one call at a time, whichever index makes it.
_TURNS: WeakKeyDictionary[QdrantClient, threading.Lock] = WeakKeyDictionary()
_FINDING_TURNS = threading.Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """An embedded Qdrant, a server, or whatever the caller's client reaches.

    Attributes:
        path: Folder of an embedded Qdrant, or ``":memory:"``.
        url: A server.
        client: The caller's.
        options: For a server, those of `qdrant_client.QdrantClient`.

    Raises:
        OptionError: Not one of ``path``, ``url`` and ``client``, options for another than ``url``, or another client.
        MissingExtraError: qdrant-client is not installed.
    """

    path: str | os.PathLike[str] | None
    url: str | None
    client: QdrantClient | None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [name for name in ("path", "url", "client") if getattr(self, name) is not None]
        if len(given) != 1:
            raise OptionError(
                f"an index has one of path, url and client, got {' and '.join(given) or 'none'}. "
                f"Pass path={_MEMORY!r} to try it."
            )
        if self.options and self.url is None:
            raise OptionError(f"{', '.join(self.options)} needs url=..., got {given[0]}. Leave it out.")
        if find_spec("qdrant_client") is None:
            raise MissingExtraError("qdrant_client", extra="qdrant")
        self._check_client()

    def turns(self) -> AbstractContextManager[object]:
        """Return what every call of the client is made in: a lock for an embedded Qdrant, the same for one client."""
        if not self._is_embedded:
            return nullcontext()
        if self.client is None:
            return threading.Lock()
        with _FINDING_TURNS:
            return _TURNS.setdefault(self.client, threading.Lock())

    def connect(self) -> QdrantClient:
        """Return the caller's client, or make one.

        Raises:
            StoreInUseError: Another client has the folder open.
        """
        from qdrant_client import QdrantClient

        if self.client is not None:
            return self.client
        if self.path is None:
            return QdrantClient(url=self.url, **{"timeout": _TIMEOUT_SECONDS, **self.options})
        if self.path == _MEMORY:
            return QdrantClient(_MEMORY)
        try:
            # Calls come from many threads, but take turns.
            return QdrantClient(path=os.fspath(self.path), force_disable_check_same_thread=True)
        except RuntimeError as error:
            raise StoreInUseError(
                f"a folder may be open in one client, and {os.fspath(self.path)!r} is open in another. Close that one, "
                "share it with client=..., or run a server and pass url=..."
            ) from error

    def disconnect(self, client: QdrantClient) -> None:
        """Close a client, unless it is the caller's."""
        if client is not self.client:
            client.close()

    @property
    def _is_embedded(self) -> bool:
        """Whether this Qdrant runs in this process."""
        if self.client is None:
            return self.path is not None
        return self.client.init_options["path"] is not None or self.client.init_options["location"] == _MEMORY

    def _check_client(self) -> None:
        from qdrant_client import QdrantClient

        if self.client is not None and not isinstance(self.client, QdrantClient):
            raise OptionError(
                f"client must be a qdrant_client.QdrantClient, got {type(self.client).__name__}. Pass the synchronous "
                "one: an index's asynchronous methods call it from threads."
            )
