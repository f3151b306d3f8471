"""From a batch's hidden states to the vectors that leave the GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import normalize
from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from vllm.pooling_params import PoolingParams
    from vllm.tasks import PoolingTask
    from vllm.v1.outputs import PoolerOutput
    from vllm.v1.pool.metadata import PoolingMetadata


class JinaPooler(Pooler):
    """Answers each request of a batch with what it asked for in ``PoolingParams.extra_kwargs``.

    - ``output``: ``"tokens"`` (the default where there is a head, so that vLLM's own ``/pooling``, ``/score`` and
      ``/rerank`` work): one unit vector a token, *shape* ``(n_tokens, token_dimensions)``; ``"dense"``: one unit
      vector, *shape* ``(dimensions,)``; ``"both"``: the two from one forward pass, the dense vector before the
      flattened token vectors in one row.
    - ``dimensions``: Matryoshka size of the dense vector.
    - ``task``: whose projector makes the token vectors; by default the first.
    - ``wire_dtype``: ``"float32"`` or ``"float16"``.

    Only the task ``token_embed`` is offered: for it vLLM reads nothing from a prefix cache, whoever left that on, and
    a mean over half a prompt would be wrong without a word.

    Args:
        projectors: From a state to a token vector, by task. Empty: dense vectors only.
        vision_start: Id of the token before an image.
        vision_end: Id of the token after it.
    """

    def __init__(self, projectors: nn.ModuleDict, *, vision_start: int, vision_end: int) -> None:
        super().__init__()
        # Not a submodule: the model owns the weights, and would count them twice.
        self.__dict__["_projectors"] = projectors
        self._vision_start = vision_start
        self._vision_end = vision_end

    def get_supported_tasks(self) -> AbstractSet[PoolingTask]:
        """Return the pooling tasks of vLLM that this pooler answers."""
        return {"token_embed"}

    def get_pooling_updates(self, task: PoolingTask) -> PoolingParamsUpdate:  # noqa: ARG002 - vLLM's signature
        """Ask vLLM for the token ids, which show where an image is."""
        return PoolingParamsUpdate(requires_token_ids=True)

    def forward(self, hidden_states: torch.Tensor, pooling_metadata: PoolingMetadata) -> PoolerOutput:
        """Return one tensor for each request whose prompt is complete, ``None`` for the others.

        Args:
            hidden_states: Of the tokens of this step, request after request. *Shape:* ``(n_tokens, hidden_size)``.
            pooling_metadata: Which requests they belong to, and how far each has come.
        """
        cursor = pooling_metadata.get_pooling_cursor()
        chunks = torch.split(hidden_states, cursor.num_scheduled_tokens_cpu.tolist())
        started = (cursor.num_scheduled_tokens_cpu == cursor.seq_lens_cpu).tolist()
        finished = (pooling_metadata.prompt_lens == cursor.seq_lens_cpu).tolist()
        outputs: list[torch.Tensor | None] = []
        for chunk, is_first, is_last, state, parameters, token_ids in zip(
            chunks,
            started,
            finished,
            pooling_metadata.pooling_states,
            pooling_metadata.pooling_params,
            # On the CPU, because the second model runner fills no others, and finding a span there costs no GPU sync.
            pooling_metadata.get_prompt_token_ids_cpu(),
            strict=True,
        ):
            if is_first:
                state.clean()  # chunks of before a preemption, which vLLM's first model runner keeps
            if not is_last:
                # A chunk of a longer prompt. Its buffer is written again by the next step.
                state.hidden_states_cache.append(chunk.clone())
                outputs.append(None)
                continue
            states = torch.cat([*state.hidden_states_cache, chunk]) if state.hidden_states_cache else chunk
            state.clean()
            outputs.append(self._pool(states, token_ids, parameters))
        return outputs

    def _pool(self, states: torch.Tensor, token_ids: torch.Tensor, parameters: PoolingParams) -> torch.Tensor:
        """Return what one request asked for, in storage of its own."""
        options: dict[str, Any] = parameters.extra_kwargs or {}
        # Without options, as in vLLM's warm-up: what the checkpoint can give.
        output = options.get("output", "tokens" if len(self._projectors) else "dense")
        parts = []
        if output != "tokens":
            parts.append(self._dense(states, token_ids, options.get("dimensions")))
        if output != "dense":
            parts.append(self._tokens(states, options.get("task")))
        pooled = parts[0] if len(parts) == 1 else torch.cat([part.flatten() for part in parts])
        return pooled.half() if options.get("wire_dtype") == "float16" else pooled

    def _dense(self, states: torch.Tensor, token_ids: torch.Tensor, dimensions: int | None) -> torch.Tensor:
        starts = (token_ids == self._vision_start).nonzero()
        if len(starts):
            ends = (token_ids == self._vision_end).nonzero()
            states = states[int(starts[0]) : int(ends[-1]) + 1]
        return normalize(states.mean(dim=0, dtype=torch.float32)[:dimensions], dim=-1)

    def _tokens(self, states: torch.Tensor, task: str | None) -> torch.Tensor:
        projector = self._projectors[task or next(iter(self._projectors))]
        return normalize(projector(states.to(projector.weight.dtype)).float(), dim=-1)
