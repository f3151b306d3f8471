"""Documents on their way into an index of two stages: dense vectors for one, token vectors kept for the other."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing, closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jina_vllm_integrations.adapters.dense_cache import kept_content
from jina_vllm_integrations.adapters.dense_records import to_vectors
from jina_vllm_integrations.adapters.recall import Recall
from jina_vllm_integrations.encoding.results import dense_of, tokens_of
from jina_vllm_integrations.errors import InputError, renaming
from jina_vllm_integrations.foundation.skipping import OnError, Skipped, Skipping
from jina_vllm_integrations.token_store.keys import each_pinned
from jina_vllm_integrations.types import ImagePrompt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence

    from jina_vllm_integrations.adapters.dense_cache import DenseCache
    from jina_vllm_integrations.adapters.recall import Recalled
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.results import Result
    from jina_vllm_integrations.token_store import TokenStore
    from jina_vllm_integrations.types import Embedding, FloatArray, Item, Output, Request

LOT = 64
"""Documents that are written together: a few megabytes of token vectors, while the engine computes the next."""


class DocumentVectors:
    """Computes documents, each in one forward pass, and keeps their token vectors.

    With a cache, a document is not computed whose dense vector is in it and whose token vectors are kept. What was
    computed fills it, and all dense vectors are as the cache keeps them.

    Args:
        encoder: Who computes.
        token_store: Keeps token vectors; ``None``, or one that is open for reading only, to compute dense ones alone.
        on_error: What to do about a bad document: raise, or ``"skip"`` it.
        names: What each document is called, for the log.
        cache: Dense vectors of this encoder, for `CachedEncoder` as well.

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
        cache: DenseCache | None = None,
    ) -> None:
        self._encoder = encoder
        self._store = None if token_store is None or token_store.readonly else token_store
        self._skipping = Skipping(on_error)
        self._names = names
        self._cache = cache
        self._recall = Recall(encoder, cache, self._store)
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
            Exception: The cache's own.
        """
        yield from self.computed(self.requests(items), lots)

    def computed(
        self, requests: Sequence[Request | InputError], lots: Iterable[range]
    ) -> Generator[tuple[list[int], FloatArray]]:
        """Do as `compute` with those requests of `requests` that the lots name: all, or some of them by turns."""
        lots = list(lots)
        under_way: deque[Recalled] = deque()

        def noted(recalled: Iterator[Recalled]) -> Iterator[Request | Embedding | InputError]:
            for each in recalled:
                under_way.append(each)
                yield each.asked

        pinned = each_pinned([requests[position] for lot in lots for position in lot])
        with closing(self._encoder.answers(noted(self._recall.each(pinned)))) as results:
            for lot in lots:
                computed = list(islice(results, len(lot)))
                kept = self._kept(lot, [under_way.popleft() for _ in lot], computed)
                if self._cache is not None:
                    self._cache.put(kept.new)
                if kept.positions:
                    yield kept.positions, kept.dense

    async def acompute(
        self, items: Sequence[Item | InputError], lots: Iterable[range]
    ) -> AsyncGenerator[tuple[list[int], FloatArray]]:
        """Do as `compute` one lot after the other, without blocking the event loop. Cancelling stops the work."""
        requests = await asyncio.to_thread(self.requests, items)
        async with aclosing(self.acomputed(requests, lots)) as computed:
            async for each in computed:
                yield each

    async def acomputed(
        self, requests: Sequence[Request | InputError], lots: Iterable[range]
    ) -> AsyncGenerator[tuple[list[int], FloatArray]]:
        """Do as `computed`, in the way of `acompute`."""
        for lot in lots:
            pinned = await asyncio.to_thread(list, each_pinned(requests[lot.start : lot.stop]))
            recalled = await self._recall.lot(pinned)
            computed = await self._encoder.aanswers([each.asked for each in recalled])
            kept = await asyncio.to_thread(self._kept, lot, recalled, computed)
            if self._cache is not None:
                await self._cache.aput(kept.new)
            if kept.positions:
                yield kept.positions, kept.dense

    def requests(self, items: Sequence[Item | InputError]) -> list[Request | InputError]:
        """Check all items, and return what is to be computed of each. Errors are those of `compute`."""
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

    def _kept(self, lot: range, recalled: Sequence[Recalled], results: Sequence[Result]) -> _Kept:
        """Keep the token vectors of a lot, and return the dense ones."""
        good: list[_Document] = []
        for position, known, result in zip(lot, recalled, results, strict=True):
            if isinstance(result, InputError) or isinstance(known.request, InputError):
                self._leave_out(result, position)
            else:
                good.append(_Document(position, known.request, known, result))
        while True:
            try:
                dense, new = self._dense(good)
                self._put(good)
            except InputError as error:
                if error.index is None:
                    raise
                self._leave_out(error, good.pop(error.index).position)
            else:
                return _Kept([document.position for document in good], dense, {**self._recall.new_notes(), **new})

    def _dense(self, documents: Sequence[_Document]) -> tuple[FloatArray, dict[bytes, bytes]]:
        """Return dense vectors, and what of them is new to the cache."""
        new: dict[bytes, bytes] = {}
        dense = np.empty((len(documents), self._encoder.dimensions), dtype=np.float32)
        for row, (_, _, known, embedding) in enumerate(documents):
            if known.key is None:
                dense[row] = dense_of(embedding)
                continue
            content = known.dense or new.get(known.key) or kept_content(dense_of(embedding), index=row)
            if known.dense is None:
                new[known.key] = content
            dense[row] = to_vectors([content])[0]
        return dense, new

    def _put(self, documents: Sequence[_Document]) -> None:
        """Keep the token vectors of all, or of none: then an `InputError` says which is refused, and why."""
        if self._store is None or not documents:
            return
        contents = self._contents(documents)
        computed = [index for index, document in enumerate(documents) if document.embedding.tokens is not None]
        keys = self._store.keys_of(self._encoder, [contents[index] for index in computed])
        with renaming(computed):
            tokens = [tokens_of(documents[index].embedding) for index in computed]
            self._store.put_many(zip(keys, tokens, strict=True))
        self.contents |= {
            document.position: content
            for document, content in zip(documents, contents, strict=True)
            if isinstance(document.request.prompt, ImagePrompt)
        }

    def _contents(self, documents: Sequence[_Document]) -> list[bytes]:
        known = [document.known.content for document in documents if document.known.content is not None]
        if len(known) == len(documents):
            return known
        assert self._store is not None
        return self._store.contents([document.request for document in documents])

    def _leave_out(self, error: Result, position: int) -> None:
        assert isinstance(error, InputError)
        error.index = position
        self._skipping.leave_out(error, name=None if self._names is None else self._names[position])


class _Document(NamedTuple):
    """A good one."""

    position: int
    request: Request
    known: Recalled
    embedding: Embedding


class _Kept(NamedTuple):
    """The good documents of a lot, their dense vectors, and what is new to the cache."""

    positions: list[int]
    dense: FloatArray
    new: dict[bytes, bytes]


def lots_of(number: int) -> Iterator[range]:
    """Yield the positions of so many documents, lot after lot."""
    for start in range(0, number, LOT):
        yield range(start, min(start + LOT, number))
