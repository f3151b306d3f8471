"""What a reranker returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_vllm_integrations.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.foundation.skipping import Skipped


class Ranking(list[Ranked]):
    """Candidates that were ranked, the best first.

    Attributes:
        skipped: Those that could not be, because that was chosen, in the order in which they were given.
    """

    def __init__(self, ranked: Iterable[Ranked] = (), *, skipped: Sequence[Skipped] = ()) -> None:
        super().__init__(ranked)
        self.skipped = list(skipped)
