"""From a batch's hidden states to the vectors that leave the GPU."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import nn
from torch.nn.functional import normalize
from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate

from jina_vllm_integrations.vllm_plugin.means import segment_means

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from vllm.tasks import PoolingTask
    from vllm.v1.outputs import PoolerOutput
    from vllm.v1.pool.metadata import PoolingMetadata


class _Form(NamedTuple):
    """How vectors leave."""

    dimensions: int | None
    dtype: Literal["float32", "float16"]

    def unit(self, means: torch.Tensor) -> torch.Tensor:
        """Cut dense vectors to their Matryoshka size and scale them to unit length."""
        return self.typed(normalize(means[..., : self.dimensions], dim=-1))

    def typed(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors.half() if self.dtype == "float16" else vectors


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
        # On the CPU, because the second model runner fills no others, and finding an image there costs no GPU sync.
        prompts = pooling_metadata.prompt_token_ids_cpu
        has_image = (prompts == self._vision_start).any(dim=1).tolist()
        outputs: list[torch.Tensor | None] = []
        dense: defaultdict[_Form, dict[int, torch.Tensor]] = defaultdict(dict)
        for chunk, is_first, is_last, state, parameters, image_ids in zip(
            chunks,
            started,
            finished,
            pooling_metadata.pooling_states,
            pooling_metadata.pooling_params,
            [prompt if with_image else None for prompt, with_image in zip(prompts, has_image, strict=True)],
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
            options = parameters.extra_kwargs or {}
            form = _Form(options.get("dimensions"), options.get("wire_dtype", "float32"))
            # Without options, as in vLLM's warm-up: what the checkpoint can give.
            match options.get("output", "tokens" if len(self._projectors) else "dense"):
                case "dense":
                    dense[form][len(outputs)] = self._pooled(states, image_ids)
                    outputs.append(None)
                case "tokens":
                    outputs.append(form.typed(self._tokens(states, options.get("task"))))
                case "both":
                    (mean,) = segment_means([self._pooled(states, image_ids)])
                    tokens = self._tokens(states, options.get("task")).flatten()
                    outputs.append(torch.cat([form.unit(mean), form.typed(tokens)]))
        for form, segments in dense.items():
            # Off the GPU in one copy: vLLM would copy row after row. It waits for its own copies, and so for this one.
            vectors = form.unit(segment_means(list(segments.values()))).to("cpu", non_blocking=True)
            for position, vector in zip(segments, vectors, strict=True):
                outputs[position] = vector
        return outputs

    def _pooled(self, states: torch.Tensor, image_ids: torch.Tensor | None) -> torch.Tensor:
        """Return the states that a dense vector is the mean of: an image's span, or all."""
        if image_ids is None:
            return states
        first, last = (image_ids == self._vision_start).nonzero()[0], (image_ids == self._vision_end).nonzero()[-1]
        return states[int(first) : int(last) + 1]

    def _tokens(self, states: torch.Tensor, task: str | None) -> torch.Tensor:
        projector = self._projectors[task or next(iter(self._projectors))]
        return normalize(projector(states.to(projector.weight.dtype)).float(), dim=-1)
