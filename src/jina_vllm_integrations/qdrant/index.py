"""The index: items in, ranked points out."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.encoding.queries import aembed_query, embed_query
from jina_vllm_integrations.errors import CheckpointError, InputError
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.foundation.progress import progress_bar
from jina_vllm_integrations.foundation.sharing import SharedByCopies
from jina_vllm_integrations.qdrant.clients import Place
from jina_vllm_integrations.qdrant.collections import Collection, CollectionConfig, Datatype, QdrantHit
from jina_vllm_integrations.qdrant.ids import check_ids, point_id
from jina_vllm_integrations.qdrant.points import PointStream, floats_of
from jina_vllm_integrations.scoring.maxsim import Normalize

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping

    from qdrant_client import QdrantClient, models

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.encoding.queries import QueryTokens
    from jina_vllm_integrations.foundation.skipping import KeptIds, OnError
    from jina_vllm_integrations.types import FloatArray, Item, Query, Role


class QdrantIndex(SharedByCopies, Closable):
    """Texts and page images in a Qdrant collection: found by dense vectors, ranked by late interaction.

    An item is one point with the vectors ``"dense"`` (cosine) and ``"tokens"`` (a multi-vector, MaxSim). Its payload
    is the caller's own; nothing is added to it. Its id is a UUID of its content, the encoder's task and the role: what
    is stored twice is there once, with the payload of the last time. So all blank pages of a size are one point, and
    so is a cover page that two documents share, unless `upsert` is given ``ids``.

    The collection is made when it is first used. One that was there must have these vectors in these sizes.
    All methods may be called from many threads and coroutines at once. Errors of Qdrant itself are raised as
    they are.

    Args:
        encoder: Computes the vectors, with a checkpoint that has a multi-vector head. Use it with the model and the
            dimensions that filled the collection.
        collection: Name of the collection.
        path: Folder of an embedded Qdrant, or ``":memory:"``. It loads all vectors into memory and compares
            them all: for up to some thousand pages. A folder is open in one client at a time.
        url: A Qdrant server.
        client: A client of the caller's, who closes it. Indexes that share one take turns where it is embedded; calls
            of the caller's own do not.
        on_disk: Whether a server leaves token vectors on disk, which a search reads of few points.
        datatype: How a server stores token vectors. ``"float16"`` halves them; scores then differ by up to a
            thousandth.
        client_options: With ``url``, those of `qdrant_client.QdrantClient`: ``api_key``, ``prefer_grpc``, ``timeout``.

    Raises:
        OptionError: Not one of ``path``, ``url`` and ``client``, or an option that does not exist.
        MissingExtraError: qdrant-client is not installed.
        CheckpointError: The encoder's checkpoint has no multi-vector head.

    Example:
        >>> with QdrantIndex(encoder, "pages", path="index") as index:
        ...     ids = index.upsert(pages, payloads=({"file": page.name} for page in pages))
        ...     hits = index.search("Where is the invoice?", limit=3)
        >>> hits[0].payload
        {'file': 'page-1.png'}
    """

    def __init__(
        self,
        encoder: JinaEncoder,
        collection: str,
        *,
        path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        client: QdrantClient | None = None,
        on_disk: bool = True,
        datatype: Datatype = "float32",
        **client_options: Any,
    ) -> None:
        check_choice("datatype", datatype, Datatype)
        config = CollectionConfig(
            name=collection,
            dimensions=encoder.dimensions,
            token_dimensions=_token_dimensions(encoder),
            on_disk=on_disk,
            datatype=datatype,
        )
        self._encoder = encoder
        self._collection = Collection(config, Place(path=path, url=url, client=client, options=client_options))

    def upsert(
        self,
        items: Iterable[Item | InputError],
        *,
        payloads: Iterable[Mapping[str, Any]] | None = None,
        ids: Iterable[str] | None = None,
        role: Role = "document",
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> KeptIds:
        """Embed items, each in one forward pass, and store them in place of those with their ids.

        Takes an iterable of any length, in the memory of the items in flight and of one request to Qdrant, which
        has as many points as fit a server's 32 MB.

        Args:
            items: Texts and images, as `JinaEncoder.results` takes them.
            payloads: One mapping an item, of what JSON can hold.
            ids: One string an item, such as ``"report.pdf#3"``; ``None`` for those of the contents. For items that
                are told apart by their place, or replaced when their content changes. A UUID is used as it is, any
                other string is hashed into one; task and role do not count.
            role: Whether they are what is searched (``"document"``) or, to find queries by queries, ``"query"``.
            on_error: A bad item raises in its turn; or ``"skip"`` to log it as a warning, by its id where it was given
                one, and list it in the ``skipped`` of what is returned.
            progress: Whether to show a bar.

        Returns:
            The UUIDs of the items' points, in their order.

        Raises:
            InputError: An item cannot be embedded, has as many token vectors as no server takes, or has no payload
                or id; ``index`` names it. Items before it may be stored; storing them again changes nothing.
            OptionError: The role or the choice does not exist.
            StoreError: The collection has other vectors, its folder is open in another client, or the index was closed.
            EngineError: The engine did not start, was closed or died.
        """
        stream = self._stream(payloads, ids, role, on_error)
        results = self._encoder.results(stream.admitted(items), role=role, output="both")
        with closing(results), progress_bar(items, "storing", shown=progress) as bar:
            for result in results:
                self._collection.upsert(stream.add(result))
                bar.update()
            if rest := stream.rest():
                self._collection.upsert(rest)
        return stream.ids

    async def aupsert(
        self,
        items: Iterable[Item | InputError] | AsyncIterable[Item | InputError],
        *,
        payloads: Iterable[Mapping[str, Any]] | None = None,
        ids: Iterable[str] | None = None,
        role: Role = "document",
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> KeptIds:
        """Do as `upsert`, without blocking the event loop. The items may come from an asynchronous iterable."""
        stream = self._stream(payloads, ids, role, on_error)
        results = self._encoder.aresults(stream.admitted_async(items), role=role, output="both")
        async with aclosing(results):
            with progress_bar(items, "storing", shown=progress) as bar:
                async for result in results:
                    await asyncio.to_thread(self._collection.upsert, stream.add(result))
                    bar.update()
                if rest := stream.rest():
                    await asyncio.to_thread(self._collection.upsert, rest)
        return stream.ids

    def search(
        self,
        query: Query,
        *,
        limit: int = 10,
        prefetch: int = 100,
        query_filter: models.Filter | None = None,
        exact: bool = False,
        normalize: Normalize = "sum",
    ) -> list[QdrantHit]:
        """Find points by their dense vectors, and rank them by MaxSim of their token vectors, inside Qdrant.

        Args:
            query: A text, an image, or both as a `TextImageQuery`.
            limit: How many points to return.
            prefetch: How many points to find and rank; at least ``limit`` are.
            query_filter: Which payloads a point may have. Applies before points are counted.
            exact: Whether a server compares all dense vectors, instead of walking its graph of them. An embedded
                Qdrant always does.
            normalize: Scores as MaxSim's ``"sum"``, or its ``"mean"`` over the query's tokens, which is comparable
                across queries.

        Returns:
            The best first.

        Raises:
            InputError: The query cannot be embedded, or has as many token vectors as no server takes.
            OptionError: A number below 1, or no such normalisation.
            StoreError: For `upsert`'s reasons.
            EngineError: The engine did not start, was closed or died.
        """
        find = self._finder(limit=limit, prefetch=prefetch, query_filter=query_filter, exact=exact, normalize=normalize)
        return find(*embed_query(self._encoder, query))

    async def asearch(
        self,
        query: Query,
        *,
        limit: int = 10,
        prefetch: int = 100,
        query_filter: models.Filter | None = None,
        exact: bool = False,
        normalize: Normalize = "sum",
    ) -> list[QdrantHit]:
        """Do as `search`, without blocking the event loop."""
        find = self._finder(limit=limit, prefetch=prefetch, query_filter=query_filter, exact=exact, normalize=normalize)
        return await asyncio.to_thread(find, *await aembed_query(self._encoder, query))

    def payloads(self, ids: Iterable[str]) -> list[dict[str, Any] | None]:
        """Return the payload of each point, by the ids that `upsert` returned or was given; ``None`` for none.

        Raises:
            InputError: An id is no string, or an empty one.
        """
        check_ids(ids)
        points = [point_id(name) for name in ids]
        found = self._collection.payloads(points)
        return [found.get(point) for point in points]

    def delete(self, ids: Iterable[str]) -> None:
        """Delete points by the ids that `upsert` returned or was given. Ids that are not there are passed over.

        Raises:
            InputError: An id is no string, or an empty one.
        """
        check_ids(ids)
        self._collection.delete([point_id(name) for name in ids])

    def count(self) -> int:
        """Count the points of the collection."""
        return self._collection.count()

    def close(self) -> None:
        """Close the client, unless it is the caller's. What is stored stays, except in ``":memory:"``."""
        self._collection.close()

    def _stream(
        self,
        payloads: Iterable[Mapping[str, Any]] | None,
        ids: Iterable[str] | None,
        role: Role,
        on_error: OnError,
    ) -> PointStream:
        check_ids(ids)
        return PointStream(
            payloads,
            ids,
            task=self._encoder.task,
            role=role,
            limits=self._encoder.image_limits,
            on_error=on_error,
        )

    def _finder(
        self, *, limit: int, prefetch: int, query_filter: models.Filter | None, exact: bool, normalize: Normalize
    ) -> Callable[[FloatArray, QueryTokens], list[QdrantHit]]:
        """Check a search's options, before its query is embedded, and return what is left to do with its vectors."""
        for name, value in (("limit", limit), ("prefetch", prefetch)):
            check_count(name, value)
        check_choice("normalize", normalize, Normalize)

        def find(dense: FloatArray, tokens: QueryTokens) -> list[QdrantHit]:
            vectors = floats_of(tokens, index=None)
            hits = self._collection.search(
                dense, vectors, limit=limit, prefetch=max(limit, prefetch), query_filter=query_filter, exact=exact
            )
            return hits if normalize == "sum" else [replace(hit, score=hit.score / len(vectors)) for hit in hits]

        return find


def _token_dimensions(encoder: JinaEncoder) -> int:
    checkpoint = encoder.engine.checkpoint
    if checkpoint.token_dimensions is None:
        raise CheckpointError(
            f"an index needs token vectors, and {checkpoint.model!r} has no multi-vector head. Make a checkpoint that "
            f"has one with: jina-vllm prepare jinaai/jina-embeddings-v4 OUT --task {encoder.task}"
        )
    return checkpoint.token_dimensions
