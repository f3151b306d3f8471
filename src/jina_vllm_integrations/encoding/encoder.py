"""Items in, vectors out: the one object that callers hold."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import aclosing, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from jina_vllm_integrations.encoding.in_flight import in_order, in_order_async
from jina_vllm_integrations.encoding.requests import RequestBuilder, in_lots
from jina_vllm_integrations.errors import ImageSizeError, OptionError
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.model.prompts import PromptBuilder
from jina_vllm_integrations.types import (
    Embedding,
    FloatArray,
    ImagePrompt,
    Item,
    Output,
    Request,
    Role,
    Task,
    TokenVectors,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence

    from jina_vllm_integrations.model.checkpoints import Checkpoint

# In pixels: ten by ten cells.
_SMALL_IMAGE = (280, 280)
_TEXTS_OF_AN_IMAGE = 4


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


class JinaEncoder:
    """Texts and images in, jina-embeddings-v4 vectors out.

    An item is a ``str`` (always a text), a path object, encoded bytes, a binary file, a PIL image, or an
    `ImageInput` around any of these or around a path, URL or data URI given as ``str``. Lists may mix them.

    All methods may be called from many threads and coroutines at once; their requests share the
    engine's batches. Results come in the order of the items, one for each. A bad item raises an
    `InputError` whose ``index`` names it: the calls that take a sequence check every item before
    any work is sent, except for what only an image's download or its decoded pixels can show.

    Args:
        engine: Who computes. The caller made it and closes it.
        task: ``"retrieval"``, ``"text-matching"`` or ``"code"``.
        dimensions: Matryoshka size of dense vectors, one of the checkpoint's; ``None`` for the full size.
        truncate: Cut texts that are longer than the engine takes, instead of raising. Logged once.
        image_limits: What an image may cost.

    Raises:
        OptionError: The task or the dimensions do not exist.

    Example:
        >>> with InProcessEngine("jinaai/jina-embeddings-v4-vllm-retrieval") as engine:
        ...     encoder = JinaEncoder(engine, task="retrieval")
        ...     pages = encoder.embed([Path("page-1.png"), "Eine Zeile Text"], role="document")
        ...     query = encoder.embed(["Where is the invoice?"], role="query")
        ...     scores = pages @ query[0]
    """

    def __init__(
        self,
        engine: Engine,
        *,
        task: Task,
        dimensions: int | None = None,
        truncate: bool = False,
        image_limits: ImageLimits = ImageLimits(),
    ) -> None:
        check_choice("task", task, Task)
        tasks = engine.checkpoint.tasks
        if tasks and task not in tasks:
            raise OptionError(f"the checkpoint serves the task {', '.join(map(repr, tasks))}, got {task!r}.")
        if dimensions is not None and not (
            isinstance(dimensions, int) and dimensions in engine.checkpoint.matryoshka_dimensions
        ):
            sizes = ", ".join(map(str, engine.checkpoint.matryoshka_dimensions))
            raise OptionError(
                f"dimensions must be one of the checkpoint's Matryoshka sizes {sizes}, got {dimensions!r}."
            )
        self.engine = engine
        self.task = task
        self._dimensions = dimensions
        self._truncate = truncate
        self.image_limits = image_limits

    @property
    def dimensions(self) -> int:
        """The size of the dense vectors."""
        return self.engine.checkpoint.hidden_size if self._dimensions is None else self._dimensions

    def warmup(self) -> None:
        """Start the engine, and pay now what the first calls would: loading, compiling, render processes.

        Computes a text and a small blank image; the image is left out where no image of its size is taken. What a GPU
        compiles is kept on disk, in ``~/.cache/vllm``, and the next start finds it.

        Raises:
            EngineError: The engine did not start, was closed or died.
        """
        requests = self.requests(["warm-up"], role="document", output="dense")
        with suppress(ImageSizeError):
            requests += self.requests([Image.new("RGB", _SMALL_IMAGE, "white")], role="document", output="dense")
        self.engine.warm_up(requests)

    async def awarmup(self) -> None:
        """Do as `warmup`, without blocking the event loop."""
        await asyncio.to_thread(self.warmup)

    def check(self, items: Iterable[Item], *, role: Role) -> None:
        """Check items without computing anything: all that can be known without downloads and decoded pixels.

        Raises:
            InputError: An item cannot be embedded; ``index`` names it.
            OptionError: The role does not exist.
        """
        for _ in self._requests.checked(items, role, "dense"):
            pass

    def requests(self, items: Iterable[Item], *, role: Role, output: Output) -> list[Request]:
        """Check items and build what the engine takes, without computing anything.

        For callers that keep vectors and `compute` only those that are missing.

        Raises:
            InputError: An item cannot be embedded; ``index`` names it.
            OptionError: The role does not exist.
            CheckpointError: The checkpoint has no multi-vector head, and the output needs it.
        """
        return self._requests.all(items, role, output)

    def stream_requests(self, items: Iterable[Item], *, role: Role, output: Output) -> Iterator[Request | Exception]:
        """Do as `requests` for an iterable of any length. A bad item's error takes the place of its request."""
        return self._requests.lazily(items, role, output)

    def compute(self, requests: Iterable[Request | Exception]) -> Generator[Embedding]:
        """Compute requests of any number, in the memory of those in flight.

        Args:
            requests: Of any roles and outputs. An error in the place of one is raised when its turn comes.

        Returns:
            An iterator of their answers, in order. Closing it cancels what is in flight.

        Raises:
            InputError: An image cannot be decoded or downloaded; ``index`` is the request's position.
            EngineError: The engine did not start, was closed or died.
        """
        return self._run(requests)

    async def acompute(self, requests: Sequence[Request]) -> list[Embedding]:
        """Do as `compute`, without blocking the event loop. Cancelling stops the work."""

        async def lots() -> AsyncIterator[Sequence[Request]]:
            for lot in in_lots(requests):
                yield lot

        return [embedding async for embedding in self._arun(lots())]

    def embed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Embed items as one vector each.

        Args:
            items: Texts and images.
            role: Whether they are what is searched for (``"query"``) or what is searched (``"document"``).

        Returns:
            Each row L2-normalised. *Shape:* ``(len(items), dimensions)``, float32.

        Raises:
            InputError: An item cannot be embedded; ``index`` names it.
            OptionError: The role does not exist.
            EngineError: The engine did not start, was closed or died.
        """
        return self._stack(list(self._run(self._requests.all(items, role, "dense"))))

    def embed_tokens(self, items: Sequence[Item], *, role: Role) -> list[TokenVectors]:
        """Embed items as one vector a token, by the checkpoint's multi-vector head.

        Arguments and errors are those of `embed`; ``dimensions`` does not apply.

        Raises:
            CheckpointError: The checkpoint has no such head.
        """
        return [_tokens(embedding) for embedding in self._run(self._requests.all(items, role, "tokens"))]

    def embed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Return what `embed` and `embed_tokens` return, from one forward pass. For indexing."""
        embeddings = list(self._run(self._requests.all(items, role, "both")))
        return self._stack(embeddings), [_tokens(embedding) for embedding in embeddings]

    def stream(self, items: Iterable[Item], *, role: Role) -> Generator[FloatArray]:
        """Embed an iterable of any length, in the memory of the requests in flight.

        Items are checked as they come. A bad one raises when its turn comes, after the results
        before it. Closing the iterator cancels what is in flight.

        Returns:
            An iterator of one L2-normalised vector an item, in order. *Shape:* ``(dimensions,)``, float32.
        """
        return (_dense(embedding) for embedding in self._run(self._requests.lazily(items, role, "dense")))

    def stream_tokens(self, items: Iterable[Item], *, role: Role) -> Generator[TokenVectors]:
        """Do as `stream`, with one vector a token."""
        return (_tokens(embedding) for embedding in self._run(self._requests.lazily(items, role, "tokens")))

    def stream_both(self, items: Iterable[Item], *, role: Role) -> Generator[tuple[FloatArray, TokenVectors]]:
        """Do as `stream`, with the dense vector and one vector a token."""
        return (
            (_dense(embedding), _tokens(embedding))
            for embedding in self._run(self._requests.lazily(items, role, "both"))
        )

    async def aembed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Do as `embed`, without blocking the event loop. Cancelling stops the work."""
        return self._stack(await self._answers(items, role, "dense"))

    async def aembed_tokens(self, items: Sequence[Item], *, role: Role) -> list[TokenVectors]:
        """Do as `embed_tokens`, without blocking the event loop. Cancelling stops the work."""
        return [_tokens(embedding) for embedding in await self._answers(items, role, "tokens")]

    async def aembed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Do as `embed_both`, without blocking the event loop. Cancelling stops the work."""
        embeddings = await self._answers(items, role, "both")
        return self._stack(embeddings), [_tokens(embedding) for embedding in embeddings]

    async def astream(self, items: Iterable[Item] | AsyncIterable[Item], *, role: Role) -> AsyncGenerator[FloatArray]:
        """Do as `stream`, without blocking the event loop.

        A result is yielded as soon as it and those before it are there, also while the next item
        of an asynchronous iterable is awaited. A synchronous iterable is read in worker threads.
        """
        async with aclosing(self._arun((await self._loaded()).lots(items, role, "dense"))) as embeddings:
            async for embedding in embeddings:
                yield _dense(embedding)

    async def astream_tokens(
        self, items: Iterable[Item] | AsyncIterable[Item], *, role: Role
    ) -> AsyncGenerator[TokenVectors]:
        """Do as `astream`, with one vector a token."""
        async with aclosing(self._arun((await self._loaded()).lots(items, role, "tokens"))) as embeddings:
            async for embedding in embeddings:
                yield _tokens(embedding)

    async def astream_both(
        self, items: Iterable[Item] | AsyncIterable[Item], *, role: Role
    ) -> AsyncGenerator[tuple[FloatArray, TokenVectors]]:
        """Do as `astream`, with the dense vector and one vector a token."""
        async with aclosing(self._arun((await self._loaded()).lots(items, role, "both"))) as embeddings:
            async for embedding in embeddings:
                yield _dense(embedding), _tokens(embedding)

    @cached_property
    def _requests(self) -> RequestBuilder:
        prompts = PromptBuilder(
            self.engine.checkpoint,
            task=self.task,
            max_tokens=self.engine.max_tokens,
            truncate=self._truncate,
            image_limits=self.image_limits,
        )
        return RequestBuilder(prompts, self.engine.checkpoint, task=self.task, dimensions=self._dimensions)

    def _run(self, requests: Iterable[Request | Exception]) -> Generator[Embedding]:
        return in_order(iter(requests), self._submit, self.engine.max_in_flight, _weight)

    def _arun(self, lots: AsyncIterator[Sequence[Request | Exception]]) -> AsyncGenerator[Embedding]:
        return in_order_async(lots, self._submit, self.engine.max_in_flight, _weight)

    async def _answers(self, items: Sequence[Item], role: Role, output: Output) -> list[Embedding]:
        lots = (await self._loaded()).checked_lots(items, role, output)
        return [embedding async for embedding in self._arun(lots)]

    async def _loaded(self) -> RequestBuilder:
        """Return `_requests`, which reads the tokenizer when it is first needed, off the event loop."""
        builder: RequestBuilder = await asyncio.to_thread(lambda: self._requests)
        return builder

    def _submit(self, lot: Sequence[Request | Exception]) -> list[Future[Embedding]]:
        answers = iter(self.engine.submit([request for request in lot if isinstance(request, Request)]))
        return [next(answers) if isinstance(request, Request) else _failed(request) for request in lot]

    def _stack(self, embeddings: Sequence[Embedding]) -> FloatArray:
        vectors = np.empty((len(embeddings), self.dimensions), dtype=np.float32)
        for row, embedding in enumerate(embeddings):
            vectors[row] = embedding.dense
        return vectors


def _dense(embedding: Embedding) -> FloatArray:
    assert embedding.dense is not None
    return embedding.dense


def _tokens(embedding: Embedding) -> TokenVectors:
    assert embedding.tokens is not None
    return embedding.tokens


def _weight(request: Request | Exception) -> int:
    """Return how many texts of those in flight a request counts: an image keeps the engine busy for longer."""
    return _TEXTS_OF_AN_IMAGE if isinstance(request, Request) and isinstance(request.prompt, ImagePrompt) else 1


def _failed(error: Exception) -> Future[Embedding]:
    future: Future[Embedding] = Future()
    future.set_exception(error)
    return future
