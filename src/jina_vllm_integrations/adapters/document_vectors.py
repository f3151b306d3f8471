"""Documents on their way into an index of two stages: dense vectors for one, token vectors kept for the other."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jina_vllm_integrations.encoding.results import dense_of, tokens_of
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.foundation.skipping import OnError, Skipped, Skipping
from jina_vllm_integrations.token_store.keys import each_pinned
from jina_vllm_integrations.types import ImagePrompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Embedding, FloatArray, Item, Output, Request

LOT = 64
"""Documents that are written together: a few megabytes of token vectors, while the engine computes the next."""


class DocumentVectors:
    """Computes documents, each in one forward pass, and keeps their token vectors.

    Args:
        encoder: Who computes.
        token_store: Keeps token vectors; ``None``, or one that is open for reading only, to compute dense ones alone.
        on_error: What to do about a bad document: raise, or ``"skip"`` it.
        names: What each document is called, for the log.

    Attributes:
        skipped: What was left out so far.
        contents: The `content_key` of each image whose token vectors were kept, by its position.
    """

    def __init__(
        self,
        encoder: JinaEncoder,
        token_store: TokenStore | None,
        *,
        on_error: OnError = "raise",
        names: Sequence[str | None] | None = None,
    ) -> None:
        self._encoder = encoder
        self._store = None if token_store is None or token_store.readonly else token_store
        self._skipping = Skipping(on_error)
        self._names = names
        self.skipped: list[Skipped] = self._skipping.skipped
        self.contents: dict[int, bytes] = {}

    def compute(
        self, items: Sequence[Item | InputError], lots: Iterable[range]
    ) -> Generator[tuple[list[int], FloatArray]]:
        """Yield lot after lot, when its token vectors are kept; the engine computes the next while one is dealt with.

        Args:
            items: Texts and images, or the error of one that could not be read. Unless bad ones are skipped, all are
                checked before any is computed.
            lots: Positions in them, in order and without gaps.

        Returns:
            The positions of each lot's good documents with their dense vectors; a lot without any is passed over.
            *Shape:* ``(len(positions), dimensions)``, float32.

        Raises:
            InputError: An item cannot be embedded, and was not to be skipped; ``index`` names it. Lots before it are
                kept.
            CheckpointError: The checkpoint has no multi-vector head, and there is a store.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be written.
        """
        under_way: deque[Request | InputError] = deque()

        def noted(requests: Iterator[Request | InputError]) -> Iterator[Request | InputError]:
            for request in requests:
                under_way.append(request)
                yield request

        requests = noted(each_pinned(self._requests(items)))
        with closing(self._encoder.answers(requests)) as results:
            for lot in lots:
                computed = list(islice(results, len(lot)))
                positions, dense = self._kept(lot, [under_way.popleft() for _ in lot], computed)
                if positions:
                    yield positions, dense

    async def acompute(
        self, items: Sequence[Item | InputError], lots: Iterable[range]
    ) -> AsyncGenerator[tuple[list[int], FloatArray]]:
        """Do as `compute` one lot after the other, without blocking the event loop. Cancelling stops the work."""
        requests = await asyncio.to_thread(self._requests, items)
        for lot in lots:
            pinned = await asyncio.to_thread(list, each_pinned(requests[lot.start : lot.stop]))
            computed = await self._encoder.aanswers(pinned)
            positions, dense = await asyncio.to_thread(self._kept, lot, pinned, computed)
            if positions:
                yield positions, dense

    def _requests(self, items: Sequence[Item | InputError]) -> list[Request | InputError]:
        output: Output = "dense" if self._store is None else "both"
        requests = self._encoder.stream_requests(items, role="document", output=output)
        return [self._checked(request, position) for position, request in enumerate(requests)]

    def _checked(self, request: Request | Exception, position: int) -> Request | InputError:
        if not isinstance(request, Exception):
            return request
        if not isinstance(request, InputError):
            raise request
        request.index = position
        if self._skipping.raises:
            raise request
        return request

    def _kept(
        self, lot: range, requests: Sequence[Request | InputError], results: Sequence[Result]
    ) -> tuple[list[int], FloatArray]:
        """Keep the token vectors of a lot, and return the dense ones with their positions."""
        good: list[_Document] = []
        for position, request, result in zip(lot, requests, results, strict=True):
            if isinstance(result, InputError) or isinstance(request, InputError):
                self._leave_out(result, position)
            else:
                good.append(_Document(position, request, result))
        while (refused := self._put(good)) is not None:
            index, error = refused
            self._leave_out(error, good.pop(index).position)
        dense = np.empty((len(good), self._encoder.dimensions), dtype=np.float32)
        for row, document in enumerate(good):
            dense[row] = dense_of(document.embedding)
        return [document.position for document in good], dense

    def _put(self, documents: Sequence[_Document]) -> tuple[int, InputError] | None:
        """Keep the token vectors of all, or of none: then return which of them is refused, and why."""
        if self._store is None or not documents:
            return None
        try:
            contents = self._store.contents([document.request for document in documents])
            keys = self._store.keys_of(self._encoder, contents)
            self._store.put_many(zip(keys, [tokens_of(document.embedding) for document in documents], strict=True))
            self.contents |= {
                document.position: content
                for document, content in zip(documents, contents, strict=True)
                if isinstance(document.request.prompt, ImagePrompt)
            }
        except InputError as error:
            if error.index is None:
                raise
            return error.index, error
        return None

    def _leave_out(self, error: Result, position: int) -> None:
        assert isinstance(error, InputError)
        error.index = position
        self._skipping.leave_out(error, name=None if self._names is None else self._names[position])


class _Document(NamedTuple):
    """One that was computed."""

    position: int
    request: Request
    embedding: Embedding


def lots_of(number: int) -> Iterator[range]:
    """Yield the positions of so many documents, lot after lot."""
    for start in range(0, number, LOT):
        yield range(start, min(start + LOT, number))
