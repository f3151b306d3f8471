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
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from vllm.pooling_params import PoolingParams
    from vllm.tasks import PoolingTask
    from vllm.v1.outputs import PoolerOutput
    from vllm.v1.pool.metadata import PoolingMetadata


class _Wanted(NamedTuple):
    """What a request asked for. Requests that want the same are answered together."""

    output: Literal["dense", "tokens", "both"]
    task: str | None
    dimensions: int | None
    dtype: Literal["float32", "float16"]
    stays: bool


class _Prompt(NamedTuple):
    """A prompt that is complete.

    Attributes:
        states: Of its tokens. *Shape:* ``(n_tokens, hidden_size)``.
        image_ids: The ids of its tokens, if there is an image among them.
    """

    states: torch.Tensor
    image_ids: torch.Tensor | None


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
        pickled: Whether vLLM pickles the vectors, as it does where its worker has a process of its own.
    """

    def __init__(self, projectors: nn.ModuleDict, *, vision_start: int, vision_end: int, pickled: bool) -> None:
        super().__init__()
        self._pickled = pickled
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
        alike: defaultdict[_Wanted, dict[int, _Prompt]] = defaultdict(dict)
        for position, prompt in self._complete(hidden_states, pooling_metadata):
            alike[self._wanted(pooling_metadata.pooling_params[position])][position] = prompt
        outputs: list[torch.Tensor | None] = [None] * len(pooling_metadata.pooling_params)
        for wanted, prompts in alike.items():
            for position, vectors in zip(prompts, self._vectors(wanted, list(prompts.values())), strict=True):
                outputs[position] = vectors
        return outputs

    def _complete(
        self, hidden_states: torch.Tensor, pooling_metadata: PoolingMetadata
    ) -> Iterator[tuple[int, _Prompt]]:
        """Yield the prompts that this step completes, by their position; keep the chunks of the others."""
        cursor = pooling_metadata.get_pooling_cursor()
        chunks = torch.split(hidden_states, cursor.num_scheduled_tokens_cpu.tolist())
        started = (cursor.num_scheduled_tokens_cpu == cursor.seq_lens_cpu).tolist()
        finished = (pooling_metadata.prompt_lens == cursor.seq_lens_cpu).tolist()
        # On the CPU, because the second model runner fills no others, and finding an image there costs no GPU sync.
        token_ids = pooling_metadata.prompt_token_ids_cpu
        has_image = (token_ids == self._vision_start).any(dim=1).tolist()
        for position, (chunk, state) in enumerate(zip(chunks, pooling_metadata.pooling_states, strict=True)):
            if started[position]:
                state.clean()  # chunks of before a preemption, which vLLM's first model runner keeps
            if not finished[position]:
                # A chunk of a longer prompt. Its buffer is written again by the next step.
                state.hidden_states_cache.append(chunk.clone())
                continue
            states = torch.cat([*state.hidden_states_cache, chunk]) if state.hidden_states_cache else chunk
            state.clean()
            yield position, _Prompt(states, token_ids[position] if has_image[position] else None)

    def _wanted(self, parameters: PoolingParams) -> _Wanted:
        options = parameters.extra_kwargs or {}
        return _Wanted(
            # Without options, as in vLLM's warm-up: what the checkpoint can give.
            output=options.get("output", "tokens" if len(self._projectors) else "dense"),
            task=options.get("task"),
            dimensions=options.get("dimensions"),
            dtype=options.get("wire_dtype", "float32"),
            # vLLM's own late interaction goes on with them.
            stays=parameters.late_interaction_params is not None,
        )

    def _vectors(self, wanted: _Wanted, prompts: Sequence[_Prompt]) -> Sequence[torch.Tensor]:
        """Return what each prompt's request gets.

        All of them in a few kernels and one copy off the GPU: a batch of short texts has hundreds, and each launch and
        each copy takes as long as it does for a long one.
        """
        lengths = [len(prompt.states) for prompt in prompts]
        vectors: Sequence[torch.Tensor]
        match wanted.output:
            case "dense":
                vectors = self._leaving(self._dense(prompts, wanted.dimensions), wanted).unbind()
            case "tokens":
                vectors = self._leaving(self._tokens(prompts, wanted.task), wanted).split(lengths)
            case "both":
                dense = self._dense(prompts, wanted.dimensions)
                tokens = self._tokens(prompts, wanted.task)
                parts = [
                    part.flatten() for pair in zip(dense.unbind(), tokens.split(lengths), strict=True) for part in pair
                ]
                sizes = [dense.shape[1] + length * tokens.shape[1] for length in lengths]
                vectors = self._leaving(torch.cat(parts), wanted).split(sizes)
            case output:
                raise ValueError(f"output must be 'dense', 'tokens' or 'both', got {output!r}.")
        if self._pickled and not vectors[0].is_cuda:
            return [each.clone() for each in vectors]  # of what shares memory, torch pickles all with each
        return vectors

    def _leaving(self, vectors: torch.Tensor, wanted: _Wanted) -> torch.Tensor:
        """Return vectors in the dtype that they leave in, and on their way to the CPU if they can be.

        vLLM would copy them request by request. It waits for its own copies before it reads, and so for this one.
        """
        dtype = torch.float16 if wanted.dtype == "float16" else torch.float32
        if self._pickled or wanted.stays:
            return vectors.to(dtype)
        return vectors.to("cpu", dtype, non_blocking=True)

    def _dense(self, prompts: Sequence[_Prompt], dimensions: int | None) -> torch.Tensor:
        """Return one unit vector a prompt, cut to its Matryoshka size first."""
        means = segment_means([self._pooled(prompt) for prompt in prompts])
        vectors: torch.Tensor = normalize(means[:, :dimensions], dim=-1)
        return vectors

    def _pooled(self, prompt: _Prompt) -> torch.Tensor:
        """Return the states that a dense vector is the mean of: an image's span, or all."""
        if prompt.image_ids is None:
            return prompt.states
        first = (prompt.image_ids == self._vision_start).nonzero()[0]
        last = (prompt.image_ids == self._vision_end).nonzero()[-1]
        return prompt.states[int(first) : int(last) + 1]

    def _tokens(self, prompts: Sequence[_Prompt], task: str | None) -> torch.Tensor:
        """Return one unit vector a token, prompt after prompt."""
        projector = self._projectors[task or next(iter(self._projectors))]
        states = torch.cat([prompt.states for prompt in prompts])
        return normalize(projector(states.to(projector.weight.dtype)).float(), dim=-1)
