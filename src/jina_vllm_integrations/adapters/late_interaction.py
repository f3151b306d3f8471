"""What a framework's reranker is made with, as fields of it, and who ranks behind it."""

# Pydantic reads the annotations of this module, so they are not postponed.
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SkipValidation

from jina_vllm_integrations.adapters.copying import CopiedBySettings
from jina_vllm_integrations.adapters.found import FoundErrors, Placed, Said
from jina_vllm_integrations.adapters.image_access import ImageAccess
from jina_vllm_integrations.adapters.lazy_encoder import LazyEncoder
from jina_vllm_integrations.adapters.relevance import relevant
from jina_vllm_integrations.encoding.engine import Engine
from jina_vllm_integrations.foundation.skipping import OnFoundError
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.reranking import LateInteractionReranker
from jina_vllm_integrations.scoring.maxsim import Normalize
from jina_vllm_integrations.token_store import TokenStore
from jina_vllm_integrations.types import Item, Query, Task

if TYPE_CHECKING:
    from jina_vllm_integrations.errors import InputError
    from jina_vllm_integrations.token_store.keys import Known


class LateInteraction(ImageAccess, CopiedBySettings):
    """Ranks by late interaction, over the caller's engine or over one that is made when it is first needed.

    The rerankers' own documentation describes the fields. What decides how vectors are computed is frozen.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )

    engine: SkipValidation[Engine | None] = Field(default=None, exclude=True, repr=False, frozen=True)
    model: str | Path | None = Field(default=None, validation_alias=AliasChoices("model", "model_name"), frozen=True)
    engine_options: dict[str, Any] = Field(default_factory=dict, repr=False, frozen=True)  # may hold a token of the hub
    store: TokenStore | None = Field(default=None, exclude=True, repr=False)
    task: Task = Field(default="retrieval", frozen=True)
    truncate: bool = Field(default=False, frozen=True)
    image_limits: ImageLimits = Field(default=ImageLimits(), frozen=True)
    top_n: int | None = Field(default=3, ge=1, strict=True)
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    normalize: Normalize = "mean"
    on_found_error: OnFoundError = "skip"

    _said: Said = PrivateAttr(default_factory=Said)
    _lazy: LazyEncoder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Check how an engine is had, without making one."""
        super().model_post_init(context)
        self._lazy = LazyEncoder.of(self)

    def close(self) -> None:
        """Close an engine of its own; what the caller gave stays open. Later calls raise `EngineClosedError`."""
        self._lazy.close()

    def _rank(
        self,
        query: Query,
        candidates: "Sequence[Item | Known | InputError]",
        top_n: int | None,
        errors: FoundErrors,
        names: Sequence[str],
    ) -> list[Placed]:
        """Return the relevant ones, the best first; without candidates no engine is needed.

        Raises:
            JinaVLLMError: As `LateInteractionReranker.rerank` and `LazyEncoder.get`.
        """
        if not candidates:
            return []
        reranker = self._late_interaction()
        ranking = reranker.rerank(query, candidates, top_n=top_n, on_error=errors.skipping(names))
        return relevant(errors.placed(ranking, top_n), self.score_threshold)

    async def _arank(
        self,
        query: Query,
        candidates: "Sequence[Item | Known | InputError]",
        top_n: int | None,
        errors: FoundErrors,
        names: Sequence[str],
    ) -> list[Placed]:
        """Do as `_rank`, without blocking the event loop. Cancelling stops the work."""
        if not candidates:
            return []
        reranker = await asyncio.to_thread(self._late_interaction)
        ranking = await reranker.arerank(query, candidates, top_n=top_n, on_error=errors.skipping(names))
        return relevant(errors.placed(ranking, top_n), self.score_threshold)

    def _found_errors(self) -> FoundErrors:
        """Return what is done about bad documents that a store found."""
        return FoundErrors(self.on_found_error, self._said)

    def _late_interaction(self) -> LateInteractionReranker:
        """Return who ranks. The first call reads the model's metadata."""
        return LateInteractionReranker(self._lazy.get(), self.store, normalize=self.normalize)
