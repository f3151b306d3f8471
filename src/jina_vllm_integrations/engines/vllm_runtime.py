"""A running vLLM: its event loop, the thread of that loop, and who shares it."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import multiprocessing
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from jina_vllm_integrations.engines.forking import spare_cuda
from jina_vllm_integrations.engines.garbage import COLLECTOR_THRESHOLD
from jina_vllm_integrations.engines.loop_thread import LoopThread
from jina_vllm_integrations.engines.rendering.pool import RenderPool
from jina_vllm_integrations.errors import (
    EngineClosedError,
    EngineDiedError,
    EngineError,
    EngineStartError,
    JinaVLLMError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from vllm import AsyncLLMEngine

    from jina_vllm_integrations.engines.admission import Admission
    from jina_vllm_integrations.images import ImageHandle

T = TypeVar("T")

_DOWNLOADS = 16
_SECONDS_TO_END = 10.0

_DIED = "vLLM's process ended; its log says why. The next call starts another."

logger = logging.getLogger(__name__)


class VLLMRuntime:
    """One vLLM and the daemon thread of its event loop. The first work starts it.

    Not made directly: `acquire` hands out one runtime for equal options, and the last of its
    users to `release` it stops it.

    Attributes:
        admission: How much is in vLLM at once.
        render_pool: Processes that render images.
    """

    _shared: ClassVar[dict[str, VLLMRuntime]] = {}
    _stopping: ClassVar[dict[str, LoopThread]] = {}
    # Reentrant: the garbage collector may release an engine in the middle of acquiring another.
    _shared_lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(
        self,
        key: str,
        options: dict[str, Any],
        *,
        admission: Admission,
        render_processes: int,
        predecessor: LoopThread | None,
    ) -> None:
        self._key = key
        self._options = options
        self._predecessor = predecessor
        self.admission = admission
        self.render_pool = RenderPool(options, render_processes)
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="jina-vllm-download")
        self._users = 0
        self._llm: AsyncLLMEngine | None = None
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._serving: set[asyncio.Task[Any]] = set()
        # Work belongs to the life of vLLM that it was submitted in: it fails with it and does not start the next.
        self._life = 0
        self._failure: Callable[[], EngineError] = partial(EngineDiedError, _DIED)
        self._stopped = False
        self._pid = os.getpid()
        self._thread = LoopThread("jina-vllm")

    @classmethod
    def acquire(cls, options: dict[str, Any], *, admission: Admission, render_processes: int) -> VLLMRuntime:
        """Return the runtime of these options and count one more user.

        Args:
            options: vLLM's engine arguments by name.
            admission: How much is in vLLM at once; the rest waits here.
            render_processes: How many processes render images, once there are enough of them.
        """
        key = json.dumps([os.getpid(), render_processes, options], sort_keys=True, default=repr)
        with cls._shared_lock:
            if key not in cls._shared:
                predecessor = cls._stopping.pop(key, None)
                cls._shared[key] = cls(
                    key, options, admission=admission, render_processes=render_processes, predecessor=predecessor
                )
            runtime = cls._shared[key]
            runtime._users += 1  # noqa: SLF001 - of this very class
            return runtime

    def release(self) -> None:
        """Count one user less. With the last, vLLM stops: on return its processes have ended."""
        with self._shared_lock:
            self._users -= 1
            if self._users:
                return
            del self._shared[self._key]
            self._stopping[self._key] = self._thread
        self._stop()

    @property
    def life(self) -> int:
        """Number of the current life of vLLM; a failure ends one. Take it when work is submitted."""
        return self._life

    @property
    def is_ours(self) -> bool:
        """Whether the event loop runs in this process, rather than in one that this is a fork of."""
        return os.getpid() == self._pid

    def submit(self, functions: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[Future[T]]:
        """Call coroutine functions on the event loop. Cancelling a future cancels its coroutine.

        Raises:
            EngineStartError: This process is a fork of the one that the event loop runs in.
        """
        if not self.is_ours:
            raise EngineStartError(
                f"this engine belongs to process {self._pid} and does not work in its fork {os.getpid()}. "
                "Make the engine in the process that uses it, or start processes with the 'spawn' method."
            )
        return self._thread.submit(functions)

    async def serve(self, work: Callable[[AsyncLLMEngine], Awaitable[T]], *, life: int) -> T:
        """Do work on the event loop, once vLLM is up.

        Args:
            work: What to do with vLLM.
            life: The life of vLLM that the work was submitted in.

        Raises:
            EngineStartError: vLLM did not come up.
            EngineDiedError: vLLM's process ended.
            EngineError: vLLM refused the work.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._llm is None:
            await asyncio.sleep(0)  # starting blocks the loop; what came with this is to be seen before, and counted
        llm = self._llm_of(life)
        self._serving.add(task)
        try:
            return await work(llm)
        except asyncio.CancelledError:
            if task not in self._serving:  # vLLM died, and another task saw it first
                raise EngineDiedError(_DIED) from None
            raise
        except JinaVLLMError:
            raise
        except Exception as error:
            is_current = self._llm is llm
            if is_current and not llm.errored:
                raise EngineError(f"vLLM could not compute this item: {error}") from error
            if is_current:
                self._bury(llm)
            raise EngineDiedError(_DIED) from error
        finally:
            self._serving.discard(task)

    async def fetch(self, image: ImageHandle) -> ImageHandle:
        """Download an image, in threads of their own: slow hosts hold up nothing but each other.

        Raises:
            ImageError: As `ImageHandle.pinned`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._downloads, image.pinned)

    async def render(self, image: ImageHandle, token_ids: Sequence[int], llm: AsyncLLMEngine) -> dict[str, Any]:
        """Decode an image and render its prompt, in a process where these are up, and in a thread until then.

        Returns:
            vLLM's ``EngineInput``.

        Raises:
            ImageError: As `ImageHandle.load`.
            EngineError: Two processes died over the image.
        """
        if self.render_pool.ready:
            return await self.render_pool.render(image, token_ids)
        page = await asyncio.to_thread(image.load)
        prompt = {"prompt_token_ids": list(token_ids), "multi_modal_data": {"image": page}}
        rendered: dict[str, Any]
        (rendered,) = await llm.renderer.render_cmpl_async([prompt])
        return rendered

    def _llm_of(self, life: int) -> AsyncLLMEngine:
        if life != self._life:
            raise self._failure()
        if self._llm is not None and self._llm.errored:
            if self._serving:
                self._bury(self._llm)
                raise self._failure()
            logger.warning("vLLM's process ended while it was idle; starting another")
            self._discard(self._llm)
        if self._llm is None:
            self._llm = self._start()
            COLLECTOR_THRESHOLD.hold_up(self)
        return self._llm

    def _start(self) -> AsyncLLMEngine:
        # Blocks the loop on purpose: whatever else is submitted needs vLLM, too.
        from vllm import AsyncEngineArgs, AsyncLLMEngine
        from vllm.config import PoolerConfig

        if self._predecessor is not None:
            self._predecessor.join()  # it may still hold the memory that this one needs
        # Raw states: where nothing of ours pools inside vLLM, the mean must not be over normalised tokens.
        pooler_config = PoolerConfig(task="token_embed", use_activation=False)
        before = multiprocessing.active_children()
        try:
            spare_cuda()
            llm = AsyncLLMEngine.from_engine_args(AsyncEngineArgs(**self._options, pooler_config=pooler_config))
        except Exception as error:
            self._fail(EngineStartError, f"vLLM did not start: {_reason(error)}")
            raise self._failure() from error
        self._processes = [process for process in multiprocessing.active_children() if process not in before]
        # Registered after vLLM's own exit handlers and so called before them: they end its process like a crash.
        atexit.register(self._stop)
        return llm

    def _bury(self, llm: AsyncLLMEngine) -> None:
        """End a life: vLLM may tell only some of the waiting tasks that it died."""
        self._fail(EngineDiedError, _DIED)
        waiting, self._serving = self._serving, set()
        for task in waiting - {asyncio.current_task()}:
            task.cancel()
        self._discard(llm)

    def _discard(self, llm: AsyncLLMEngine) -> None:
        self._llm = None
        COLLECTOR_THRESHOLD.let_go(self)
        llm.shutdown()
        # When one of several engines dies, vLLM ends the others in a thread of its own. Until then they hold the memory
        # that the next ones need.
        for process in self._processes:
            process.join(_SECONDS_TO_END)

    def _fail(self, kind: type[EngineError], message: str) -> None:
        self._life += 1
        self._failure = partial(kind, message)

    def _stop(self) -> None:
        if self._stopped or not self.is_ours:
            return
        self._stopped = True
        atexit.unregister(self._stop)
        # The garbage collector may call from the loop's own thread, which does not wait for itself.
        self._thread.end(
            self._shut_down, refusal=partial(EngineClosedError, "the engine is being closed. Make another one.")
        )

    async def _shut_down(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self.render_pool.close()
        finally:
            if self._llm is not None:
                self._discard(self._llm)


def _reason(error: Exception) -> str:
    if "bootstrapping phase" in str(error):
        return (
            "it runs in a new process, which imports your script again. "
            "Put the script's work under: if __name__ == '__main__':"
        )
    return f"{error} (vLLM's log above says more)"
