"""Who computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from jina_vllm_integrations.model.checkpoints import Checkpoint
    from jina_vllm_integrations.types import Embedding, Request


class Engine(Protocol):
    """Who computes. May be shared by any number of encoders, threads and event loops."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The facts of the model that is served."""

    @property
    def fingerprint(self) -> str:
        """Another one where equal requests would get other vectors: what is kept under one is not served for another.

        Reads the model's files when it is first asked for.
        """

    @property
    def max_tokens(self) -> int:
        """The longest prompt that is taken."""

    @property
    def max_in_flight(self) -> int:
        """How many texts of one call are worth having in flight; an image counts as four."""

    def submit(self, requests: Sequence[Request]) -> list[Future[Embedding]]:
        """Start the work of some requests and return at once. Cancelling a future stops its work."""

    def warm_up(self, requests: Sequence[Request]) -> None:
        """Compute some requests of each kind, and start whatever later ones would wait for."""

    def close(self) -> None:
        """Release what was started. Waiting callers get an `EngineClosedError`."""
