"""Items in, vectors out: the one object that callers hold."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jina_vllm_integrations.encoding.answers import answers, answers_async
from jina_vllm_integrations.encoding.requests import RequestBuilder, in_lots
from jina_vllm_integrations.encoding.results import (
    AsyncStream,
    Result,
    Stream,
    akept,
    both_of,
    dense_of,
    kept,
    tokens_of,
)
from jina_vllm_integrations.errors import ImageSizeError, InputError, OptionError
from jina_vllm_integrations.foundation.options import check_choice
from jina_vllm_integrations.foundation.sharing import SharedByCopies
from jina_vllm_integrations.foundation.skipping import OnError, Skipping
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.model.prompts import PromptBuilder
from jina_vllm_integrations.scoring.maxsim import warm_up
from jina_vllm_integrations.types import (
    Embedding,
    EmptyText,
    FloatArray,
    Item,
    Output,
    Request,
    Role,
    Task,
    TokenVectors,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence

    from jina_vllm_integrations.encoding.engine import Engine

# In pixels: ten by ten cells.
_SMALL_IMAGE = (280, 280)


class JinaEncoder(SharedByCopies):
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
        empty_text: A text without content raises; or ``"prompt"`` to embed its prompt alone, as the model's own code
            does. That is a vector of unit length, equal for all of them, and far from nothing: a zero vector would come
            first in some stores, or be NaN.

    Raises:
        OptionError: The task, the dimensions or ``empty_text`` do not exist.

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
        empty_text: EmptyText = "raise",
    ) -> None:
        check_choice("task", task, Task)
        check_choice("empty_text", empty_text, EmptyText)
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
        self._empty_text: EmptyText = empty_text

    @property
    def dimensions(self) -> int:
        """The size of the dense vectors."""
        return self.engine.checkpoint.hidden_size if self._dimensions is None else self._dimensions

    def warmup(self) -> None:
        """Start the engine, and pay now what the first calls would: loading, compiling, render processes.

        Computes a text and a small blank image; the image is left out where no image of its size is taken. What a GPU
        compiles is kept on disk, in ``~/.cache/vllm``, and the next start finds it. For a checkpoint with a
        multi-vector head, MaxSim is compiled for the first search.

        Raises:
            EngineError: The engine did not start, was closed or died.
        """
        requests = self.requests(["warm-up"], role="document", output="dense")
        with suppress(ImageSizeError):
            requests += self.requests([Image.new("RGB", _SMALL_IMAGE, "white")], role="document", output="dense")
        self.engine.warm_up(requests)
        if (token_dimensions := self.engine.checkpoint.token_dimensions) is not None:
            warm_up(token_dimensions)

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

    def stream_requests(
        self, items: Iterable[Item | InputError], *, role: Role, output: Output
    ) -> Iterator[Request | Exception]:
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
        return kept(self.answers(requests), Skipping("raise"))

    async def acompute(self, requests: Sequence[Request]) -> list[Embedding]:
        """Do as `compute`, without blocking the event loop. Cancelling stops the work."""
        return [embedding async for embedding in akept(self._aanswers(requests), Skipping("raise"))]

    def answers(self, requests: Iterable[Request | Embedding | Exception]) -> Generator[Result]:
        """Do as `compute`, but yield the `InputError` of a request in its place, and go on with the next.

        An `Embedding` that is known, in the place of a request, is yielded in its turn.
        """
        return answers(self.engine, requests)

    async def aanswers(self, requests: Sequence[Request | Embedding | InputError]) -> list[Result]:
        """Do as `answers`, without blocking the event loop. Cancelling stops the work."""
        return [result async for result in self._aanswers(requests)]

    def results(self, items: Iterable[Item | InputError], *, role: Role, output: Output) -> Generator[Result]:
        """Embed an iterable of any length, and tell of each item what came of it.

        For whoever indexes much and must not stop at one bad file: `embed` and its like raise at the first one.

        Args:
            items: Texts and images. Where whoever reads them could not read one, its `InputError` may stand in its
                place, and comes back in its turn.
            role: Whether they are what is searched for (``"query"``) or what is searched (``"document"``).
            output: ``"dense"`` for a vector an item, ``"tokens"`` for one a token, ``"both"`` for the two.

        Returns:
            An iterator, in order and one for each item, of an `Embedding`, or of the `InputError` that says why there
            is none; its ``index`` is the item's position. Closing it cancels what is in flight.

        Raises:
            OptionError: The role does not exist.
            CheckpointError: The checkpoint has no multi-vector head, and the output needs it.
            EngineError: The engine did not start, was closed or died.
            Exception: What the iterable itself raises, after the results before it.

        Example:
            >>> for path, result in zip(paths, encoder.results(paths, role="document", output="dense")):
            ...     if isinstance(result, InputError):
            ...         print(path, result)
            ...     else:
            ...         index.add(path, result.dense)
        """
        return self.answers(self._requests.lazily(items, role, output))

    async def aresults(
        self, items: Iterable[Item | InputError] | AsyncIterable[Item | InputError], *, role: Role, output: Output
    ) -> AsyncGenerator[Result]:
        """Do as `results`, without blocking the event loop.

        A result is yielded as soon as it and those before it are there, also while the next item of an asynchronous
        iterable is awaited. A synchronous iterable is read in worker threads.
        """
        lots = (await self._loaded()).lots(items, role, output)
        async with aclosing(answers_async(self.engine, lots)) as results:
            async for result in results:
                yield result

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
        return self._stack(list(self.compute(self._requests.all(items, role, "dense"))))

    def embed_tokens(self, items: Sequence[Item], *, role: Role) -> list[TokenVectors]:
        """Embed items as one vector a token, by the checkpoint's multi-vector head.

        Arguments and errors are those of `embed`; ``dimensions`` does not apply.

        Raises:
            CheckpointError: The checkpoint has no such head.
        """
        return [tokens_of(embedding) for embedding in self.compute(self._requests.all(items, role, "tokens"))]

    def embed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Return what `embed` and `embed_tokens` return, from one forward pass. For indexing."""
        embeddings = list(self.compute(self._requests.all(items, role, "both")))
        return self._stack(embeddings), [tokens_of(embedding) for embedding in embeddings]

    def stream(self, items: Iterable[Item], *, role: Role, on_error: OnError = "raise") -> Stream[FloatArray]:
        """Embed an iterable of any length, in the memory of the requests in flight.

        Items are checked as they come. Closing the iterator cancels what is in flight.

        Args:
            items: Texts and images.
            role: Whether they are what is searched for (``"query"``) or what is searched (``"document"``).
            on_error: A bad item raises when its turn comes, after the results before it; or ``"skip"`` to log it as a
                warning, and list it in the iterator's ``skipped``.

        Returns:
            An iterator of one L2-normalised vector an item, in order. *Shape:* ``(dimensions,)``, float32.

        Raises:
            OptionError: The role or the choice does not exist.
        """
        return Stream(self.results(items, role=role, output="dense"), dense_of, on_error)

    def stream_tokens(self, items: Iterable[Item], *, role: Role, on_error: OnError = "raise") -> Stream[TokenVectors]:
        """Do as `stream`, with one vector a token."""
        return Stream(self.results(items, role=role, output="tokens"), tokens_of, on_error)

    def stream_both(
        self, items: Iterable[Item], *, role: Role, on_error: OnError = "raise"
    ) -> Stream[tuple[FloatArray, TokenVectors]]:
        """Do as `stream`, with the dense vector and one vector a token."""
        return Stream(self.results(items, role=role, output="both"), both_of, on_error)

    async def aembed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Do as `embed`, without blocking the event loop. Cancelling stops the work."""
        return self._stack(await self._answers(items, role, "dense"))

    async def aembed_tokens(self, items: Sequence[Item], *, role: Role) -> list[TokenVectors]:
        """Do as `embed_tokens`, without blocking the event loop. Cancelling stops the work."""
        return [tokens_of(embedding) for embedding in await self._answers(items, role, "tokens")]

    async def aembed_both(self, items: Sequence[Item], *, role: Role) -> tuple[FloatArray, list[TokenVectors]]:
        """Do as `embed_both`, without blocking the event loop. Cancelling stops the work."""
        embeddings = await self._answers(items, role, "both")
        return self._stack(embeddings), [tokens_of(embedding) for embedding in embeddings]

    def astream(
        self, items: Iterable[Item] | AsyncIterable[Item], *, role: Role, on_error: OnError = "raise"
    ) -> AsyncStream[FloatArray]:
        """Do as `stream`, without blocking the event loop, in the way of `aresults`."""
        return AsyncStream(self.aresults(items, role=role, output="dense"), dense_of, on_error)

    def astream_tokens(
        self, items: Iterable[Item] | AsyncIterable[Item], *, role: Role, on_error: OnError = "raise"
    ) -> AsyncStream[TokenVectors]:
        """Do as `astream`, with one vector a token."""
        return AsyncStream(self.aresults(items, role=role, output="tokens"), tokens_of, on_error)

    def astream_both(
        self, items: Iterable[Item] | AsyncIterable[Item], *, role: Role, on_error: OnError = "raise"
    ) -> AsyncStream[tuple[FloatArray, TokenVectors]]:
        """Do as `astream`, with the dense vector and one vector a token."""
        return AsyncStream(self.aresults(items, role=role, output="both"), both_of, on_error)

    @cached_property
    def _requests(self) -> RequestBuilder:
        prompts = PromptBuilder(
            self.engine.checkpoint,
            task=self.task,
            max_tokens=self.engine.max_tokens,
            truncate=self._truncate,
            image_limits=self.image_limits,
            empty_text=self._empty_text,
        )
        return RequestBuilder(prompts, self.engine.checkpoint, task=self.task, dimensions=self._dimensions)

    async def _answers(self, items: Sequence[Item], role: Role, output: Output) -> list[Embedding]:
        lots = (await self._loaded()).checked_lots(items, role, output)
        return [embedding async for embedding in akept(answers_async(self.engine, lots), Skipping("raise"))]

    async def _aanswers(self, requests: Sequence[Request | Embedding | InputError]) -> AsyncGenerator[Result]:
        async def lots() -> AsyncIterator[Sequence[Request | Embedding | InputError]]:
            for lot in in_lots(requests):
                yield lot

        async with aclosing(answers_async(self.engine, lots())) as results:
            async for result in results:
                yield result

    async def _loaded(self) -> RequestBuilder:
        """Return `_requests`, which reads the tokenizer when it is first needed, off the event loop."""
        builder: RequestBuilder = await asyncio.to_thread(lambda: self._requests)
        return builder

    def _stack(self, embeddings: Sequence[Embedding]) -> FloatArray:
        vectors = np.empty((len(embeddings), self.dimensions), dtype=np.float32)
        for row, embedding in enumerate(embeddings):
            vectors[row] = embedding.dense
        return vectors
