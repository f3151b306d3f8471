"""vLLM in this machine, used by any number of threads and coroutines at once.

How callers meet vLLM was decided by trying it. One ``AsyncLLM`` on a private event loop was chosen over a
thread that feeds and steps an ``LLMEngine``: with vLLM's engine in a process of its own both are equally fast on
an idle machine (``examples/benchmarks/results/engine_loop.json``), a blocked ``step()`` does not hold new
requests back, and aborting, dead engines and data parallelism are vLLM's own code, which its
server stands on, too. The price is that the engine is always a second process, which imports
vLLM once more.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import CancelledError
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.engines.admission import Admission
from jina_vllm_integrations.engines.computing import Computation, WireDtype
from jina_vllm_integrations.engines.rendering.pool import processes_by_default
from jina_vllm_integrations.engines.vllm_options import Pooling, check_options, full_options, vector_options
from jina_vllm_integrations.engines.vllm_runtime import VLLMRuntime
from jina_vllm_integrations.errors import EngineClosedError, MissingExtraError
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.foundation.sharing import SharedByCopies
from jina_vllm_integrations.model.checkpoints import Checkpoint
from jina_vllm_integrations.model.fingerprints import fingerprint
from jina_vllm_integrations.types import Embedding, ImagePrompt, Request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path


class InProcessEngine(SharedByCopies, Closable):
    """Computes in a vLLM of this machine.

    Making one starts nothing; the first encode does, and takes as long as vLLM takes to load. Engines
    of equal settings share one vLLM, which stops when the last of them is closed, at the latest
    when the interpreter exits. If vLLM's process dies, waiting calls raise `EngineDiedError`
    and the next call starts another.

    On a machine without a GPU, or where CUDA is in use already, vLLM starts its engine with the ``spawn`` method: a
    script needs the usual ``if __name__ == "__main__":``.

    While vLLM is up, Python's garbage collector waits for 50,000 new objects: it would take requests in flight for old,
    and stop this process to go through all objects. A higher threshold stays, and so does one that is set meanwhile.

    Args:
        model: A directory that `prepare` made, or any jina-embeddings-v4 checkpoint for vLLM, e.g. the hub id
            ``"jinaai/jina-embeddings-v4-vllm-retrieval"`` (which has no multi-vector head).
        pooling: ``"engine"``: our plugin pools inside vLLM, and only the vectors leave its process.
            ``"client"``: stock vLLM hands over every token's state and this process pools.
        projector: A prepared checkpoint, whose multi-vector head serves one that has none.
        render_processes: How many processes turn images into the model's inputs, once there are more than a handful
            at once; by default most of the cores, at most eight. ``0`` renders in threads of this process.
        data_parallel: How many GPUs to use, each with an engine of its own that computes a share of the requests.
        wire_dtype: How vectors travel from vLLM's process with ``pooling="engine"``. ``"float16"`` halves the bytes
            and keeps three digits.
        **vllm_options: Any of vLLM's engine arguments, e.g. ``dtype``, ``max_model_len``,
            ``gpu_memory_utilization``. The ones that decide the vectors are set here.

    Raises:
        OptionError: There is no such option or value, or it is not the caller's to set.
        MissingExtraError: vLLM is not installed.

    Example:
        >>> with InProcessEngine("jinaai/jina-embeddings-v4-vllm-retrieval", max_model_len=8192) as engine:
        ...     vectors = JinaEncoder(engine, task="retrieval").embed(["Guten Tag"], role="document")
    """

    def __init__(
        self,
        model: str | Path,
        *,
        pooling: Pooling = "engine",
        projector: str | Path | None = None,
        wire_dtype: WireDtype = "float32",
        render_processes: int | None = None,
        data_parallel: int = 1,
        **vllm_options: Any,
    ) -> None:
        check_choice("pooling", pooling, Pooling)
        check_choice("wire_dtype", wire_dtype, WireDtype)
        check_count("data_parallel", data_parallel)
        if render_processes is not None:
            check_count("render_processes", render_processes, least=0)
        if find_spec("vllm") is None:
            raise MissingExtraError("vllm", extra="gpu")
        if vllm_options:
            check_options(vllm_options)
        self._model = str(model)
        self._pooling = pooling
        self._projector = projector
        self._wire_dtype = wire_dtype
        self._render_processes = processes_by_default() if render_processes is None else render_processes
        self._data_parallel = data_parallel
        self._user_options = vllm_options
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._runtime: VLLMRuntime | None = None
        self._closed = False

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The facts of the model, read from its files on first use.

        Raises:
            CheckpointError: The model cannot be served.
        """
        checkpoint = Checkpoint.read(
            self._model,
            revision=self._user_options.get("revision"),
            overrides=self._user_options.get("hf_overrides"),
        )
        if self._user_options.get("load_format") != "dummy":
            checkpoint.require_weights()
        if self._projector is not None:
            checkpoint = checkpoint.with_projectors(self._projector)
        return replace(
            checkpoint, grid=checkpoint.grid.with_limits(self._user_options.get("mm_processor_kwargs") or {})
        )

    @cached_property
    def fingerprint(self) -> str:
        """Another one for other weights, or options that change vectors. See `encoding.encoder.Engine`.

        Reads all of the model's files once a process; a GB takes a fraction of a second where the page cache has it.
        """
        options = {**vector_options(self._user_options), "wire_dtype": self._wire_dtype}
        return fingerprint(self.checkpoint, options)

    @cached_property
    def max_tokens(self) -> int:
        """The longest prompt: ``max_model_len``, by default what the model's positions allow."""
        length: int = self._user_options.get("max_model_len", self.checkpoint.max_tokens)
        return length

    @cached_property
    def max_in_flight(self) -> int:
        """Twice ``max_num_seqs``: one batch in work, one waiting for it to end."""
        return 2 * int(self._options["max_num_seqs"]) * self._data_parallel

    def submit(self, requests: Sequence[Request]) -> list[Future[Embedding]]:
        """Start work and return at once. See `jina_vllm_integrations.encoding.encoder.Engine`."""
        with self._lock:
            if not requests:
                return []
            runtime = self._open_runtime()
            life = runtime.life
            return runtime.submit([partial(self._answer, runtime, request, life) for request in requests])

    def warm_up(self, requests: Sequence[Request]) -> None:
        """Start vLLM and the render processes, and compute. See `jina_vllm_integrations.encoding.encoder.Engine`."""
        images = [request for request in requests if isinstance(request.prompt, ImagePrompt)]
        if self._options["limit_mm_per_prompt"].get("image") == 0:
            requests, images = [request for request in requests if request not in images], []
        answers = self.submit(requests)
        with self._lock:
            runtime = self._open_runtime()
            pools = runtime.submit([partial(runtime.render_pool.started, each.prompt.token_ids) for each in images[:1]])
        for answer in answers:
            answer.result()
        for pool in pools:
            try:
                pool.result()
            except CancelledError:
                raise self._closed_error() from None

    def close(self) -> None:
        """Stop. Waiting calls of this engine raise `EngineClosedError`; engines that share its vLLM go on."""
        with self._lock:
            self._closed = True
            runtime = self._runtime
        with self._closing:  # whoever else closes waits until it is done
            if runtime is not None and self._release.alive:
                if runtime.is_ours:
                    runtime.submit([self._cancel_tasks])[0].result()
                self._release()

    @cached_property
    def _options(self) -> dict[str, Any]:
        return full_options(
            self.checkpoint,
            self._user_options,
            max_model_len=self.max_tokens,
            pooling=self._pooling,
            data_parallel=self._data_parallel,
        )

    @cached_property
    def _computation(self) -> Computation:
        return Computation(
            self.checkpoint, max_tokens=self.max_tokens, pooling=self._pooling, wire_dtype=self._wire_dtype
        )

    def _open_runtime(self) -> VLLMRuntime:
        if self._closed:
            raise self._closed_error()
        if self._runtime is None:
            self._runtime = VLLMRuntime.acquire(
                self._options, admission=self._admission(), render_processes=self._render_processes
            )
            # Runs once: at close(), when the last reference to this engine goes, or at the interpreter's exit.
            self._release = weakref.finalize(self, self._runtime.release)
        return self._runtime

    def _closed_error(self) -> EngineClosedError:
        return EngineClosedError(f"the engine of {self._model!r} was closed. Make another one.")

    def _admission(self) -> Admission:
        grid = self.checkpoint.grid
        return Admission(
            batch_tokens=self._options["max_num_batched_tokens"] * self._data_parallel,
            cell_pixels=grid.cell**2,
            page_pixels=grid.max_pixels,
            n_rendered=2 * max(1, self._render_processes),
        )

    async def _answer(self, runtime: VLLMRuntime, request: Request, life: int) -> Embedding:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        is_image = isinstance(request.prompt, ImagePrompt)
        expected = runtime.render_pool.expecting(request.prompt.token_ids) if is_image else nullcontext()
        try:
            with expected:
                return await runtime.serve(partial(self._computation.compute, runtime, request), life=life)
        except asyncio.CancelledError:
            if task not in self._tasks:  # close() took it
                raise self._closed_error() from None
            raise
        finally:
            self._tasks.discard(task)

    async def _cancel_tasks(self) -> None:
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
