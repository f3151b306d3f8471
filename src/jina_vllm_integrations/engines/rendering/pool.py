"""The processes that render for one event loop: started when they pay, replaced when they die."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.engines.rendering.jobs import Job
from jina_vllm_integrations.engines.rendering.launching import finish, kill, launch
from jina_vllm_integrations.engines.rendering.listening import hang_up, listen, send, send_object
from jina_vllm_integrations.errors import EngineError
from jina_vllm_integrations.foundation import channel
from jina_vllm_integrations.foundation.cores import available_cores

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Generator, Mapping, Sequence

    from jina_vllm_integrations.images import ImageHandle

# Decoding and rendering an A4 page takes a core about 50 ms: eight keep pace with two GPUs.
_MOST_BY_DEFAULT = 8
# The caller's thread, the event loop's, vLLM's.
_CORES_OF_THE_ENGINE = 3

# So many images are rendered by threads sooner than a process is up.
_HANDFUL = 8
# One image in work and one at hand, so that a worker never waits for the event loop.
_JOBS_A_WORKER = 2
_TRIES = 2

_REMEDY = "Lower InProcessEngine's render_processes; 0 renders in threads of this process."
_DEADLY = (
    "two render processes died over {!r}: the image breaks its decoder, or the machine is out of memory. "
    "Leave the image out, or lower ImageLimits.max_pixels or InProcessEngine's render_processes."
)

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Worker:
    end: socket.socket
    pid: int | None = None
    jobs: deque[Job] = field(default_factory=deque)


class RenderPool:
    """Renders images in processes. All but the constructor belongs to one event loop.

    Args:
        options: vLLM's engine arguments by name.
        size: How many processes; 0 for a pool that never starts.
    """

    def __init__(self, options: Mapping[str, Any], size: int) -> None:
        self._options = dict(options)
        self._size = size
        self._expected = 0
        self._token_ids: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._server: socket.socket | None = None
        self._loaded = False
        self._failed = False
        self._fruitful = False  # whether a worker of this fork server lived
        self._decided = asyncio.Event()
        self._workers: list[_Worker] = []
        self._waiting: deque[Job] = deque()

    @contextmanager
    def expecting(self, token_ids: Sequence[int]) -> Generator[None]:
        """Count an image that is to be rendered. With more than a handful at once, the processes are started.

        Args:
            token_ids: Its prompt, to warm up with.
        """
        self._expected += 1
        if self._expected > _HANDFUL:
            self.start(token_ids)
        try:
            yield
        finally:
            self._expected -= 1

    @property
    def ready(self) -> bool:
        """Whether a process is up."""
        return bool(self._up)

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that are up."""
        return [worker.pid for worker in self._up if worker.pid is not None]

    def start(self, token_ids: Sequence[int]) -> None:
        """Start the processes and return at once; do nothing where they run, or could not be started before.

        Args:
            token_ids: An image's prompt, to warm up with.
        """
        if self._size and not self._failed and self._server is None:
            self._token_ids = list(token_ids)
            self._start_server()

    async def started(self, token_ids: Sequence[int]) -> None:
        """Do as `start`, and wait until a process is up, or will not be."""
        self.start(token_ids)
        if self._size:
            await self._decided.wait()

    async def render(self, image: ImageHandle, token_ids: Sequence[int]) -> dict[str, Any]:
        """Render one image's prompt, once the pool is `ready`.

        Returns:
            vLLM's ``EngineInput``.

        Raises:
            ImageError: The image cannot be decoded, as `ImageHandle.load`.
            EngineError: vLLM cannot render it, or two processes died over it.
        """
        job = await Job.of(image, token_ids)
        try:
            self._waiting.append(job)
            self._hand_out()
            self._turn_away()
            return await job.answer
        finally:
            job.close()

    async def close(self) -> None:
        """End all processes. Nobody may be waiting."""
        for worker in self._workers:
            hang_up(worker.end)
        self._workers.clear()
        is_importing = not self._loaded
        self._hang_up_server()
        if self._process is not None:  # blocks: at the interpreter's exit there are no threads to wait in
            (kill if is_importing else finish)(self._process)

    @property
    def _up(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.pid is not None]

    def _start_server(self) -> None:
        if self._process is not None:  # the last one's channel is closed
            kill(self._process)
        self._fruitful = False
        ours, theirs = channel.connection()
        with theirs:
            try:
                self._process = launch(theirs)
            except OSError as error:
                logger.error("%s", error)  # noqa: TRY400 - how it came to be started is of no interest
                ours.close()
                self._give_up()
                return
        self._server = ours
        send_object(ours, (self._options, self._token_ids))
        listen(ours, self._add_workers, self._lose_server)

    def _add_workers(self, _server_pid: int) -> None:
        self._loaded = True
        for _ in range(self._size - len(self._workers)):
            self._add_worker()

    def _add_worker(self) -> None:
        assert self._server is not None
        ours, theirs = channel.connection()
        with theirs:
            try:
                channel.send_descriptor(self._server, theirs.fileno())
            except (BrokenPipeError, ConnectionResetError):  # it died, which the reader of its channel hears, too
                ours.close()
                return
        worker = _Worker(ours)
        self._workers.append(worker)
        listen(ours, lambda message: self._take(worker, message), lambda: self._lose(worker))

    def _take(self, worker: _Worker, message: Any) -> None:
        """Take what a worker sent: first its process id, then answers in the order of its jobs."""
        if worker.pid is None:
            worker.pid = message
            self._fruitful = True
            self._decided.set()
        else:
            worker.jobs.popleft().settle(message)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting:
            worker = min(self._up, key=lambda worker: len(worker.jobs), default=None)
            if worker is None or len(worker.jobs) == _JOBS_A_WORKER:
                return
            job = self._waiting.popleft()
            if not job.answer.done():
                worker.jobs.append(job)
                send(worker.end, job.parcel)

    def _lose(self, worker: _Worker) -> None:
        """Replace a worker that died. Others do what it had; the job that it died over gets one more try."""
        self._workers.remove(worker)
        if worker.jobs:
            worker.jobs[0].tries += 1
            if worker.jobs[0].tries == _TRIES:
                job = worker.jobs.popleft()
                job.settle(EngineError(_DEADLY.format(job.label)))
        self._waiting.extendleft(reversed(worker.jobs))
        if worker.pid is None:
            assert self._server is not None
            # Where the fork server died, `_lose_server` deals with it, whose end may be heard after those of its forks.
            if not channel.is_closed(self._server):
                self._hang_up_server()  # it forks, and its forks do not live
                self._give_up()
            return
        logger.warning("render process %d died; starting another", worker.pid)
        if self._server is None and not self._failed:
            self._start_server()
        elif self._loaded:
            self._add_worker()
        self._hand_out()
        self._turn_away()

    def _lose_server(self) -> None:
        """Go on with the workers that are there; without any, start again."""
        self._forget_server()
        if not self._fruitful:
            self._give_up()
        elif not self._workers:
            self._start_server()

    def _hang_up_server(self) -> None:
        if self._server is not None:
            hang_up(self._server)
        self._forget_server()

    def _forget_server(self) -> None:
        self._server, self._loaded = None, False
        for worker in self._workers:
            if worker.pid is None:  # not forked yet, or not heard of
                hang_up(worker.end)
        self._workers = self._up

    def _give_up(self) -> None:
        """Render no more than the workers do that are there."""
        if not self._failed:
            logger.error("render processes do not start, so pages wait for one thread; stderr says why. %s", _REMEDY)
        self._failed, self._fruitful = True, False
        self._decided.set()
        self._turn_away()

    def _turn_away(self) -> None:
        """Let nobody wait for processes that will not come."""
        if self._failed and not self._workers:
            while self._waiting:
                self._waiting.popleft().settle(EngineError(f"the render processes ended. {_REMEDY}"))


def processes_by_default() -> int:
    """How many render processes suit this machine: most of its cores, where there are any to spare."""
    return max(0, min(_MOST_BY_DEFAULT, available_cores() - _CORES_OF_THE_ENGINE))
