"""One collection of a Qdrant: made when it is first used, checked where it was there before."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jina_vllm_integrations.errors import StoreClosedError, StoreFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdrant_client import QdrantClient, models

    from jina_vllm_integrations.qdrant.clients import Place
    from jina_vllm_integrations.qdrant.points import Point
    from jina_vllm_integrations.types import FloatArray

Datatype = Literal["float32", "float16"]
"""How a server stores token vectors."""

_DENSE = "dense"
_TOKENS = "tokens"


@dataclass(frozen=True, kw_only=True)
class QdrantHit:
    """One point that a search found.

    Attributes:
        id: As `QdrantIndex.upsert` returned it.
        score: MaxSim of the query's token vectors and the point's.
        payload: The caller's own.
    """

    id: str
    score: float
    payload: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """How a collection is made.

    Attributes:
        name: Of the collection.
        dimensions: Size of a dense vector.
        token_dimensions: Size of a token vector.
        on_disk: Whether a server leaves the token vectors on disk.
        datatype: How it stores them.
    """

    name: str
    dimensions: int
    token_dimensions: int
    on_disk: bool
    datatype: Datatype

    def vectors(self) -> dict[str, models.VectorParams]:
        """Return the named vectors. No graph is built over token vectors, which only rank what the dense ones found."""
        from qdrant_client import models

        return {
            _DENSE: models.VectorParams(size=self.dimensions, distance=models.Distance.COSINE),
            _TOKENS: models.VectorParams(
                size=self.token_dimensions,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
                hnsw_config=models.HnswConfigDiff(m=0),
                on_disk=self.on_disk,
                datatype=models.Datatype(self.datatype),
            ),
        }


class Collection:
    """A collection, and the client that reaches it.

    May be used by many threads at once. The embedded Qdrant is not made for that, so the calls of its client take
    turns, those of other collections too.

    Args:
        config: What the collection must be.
        place: Where it is.
    """

    def __init__(self, config: CollectionConfig, place: Place) -> None:
        self._config = config
        self._place = place
        self._turns = place.turns()
        self._opening = threading.Lock()
        self._client: QdrantClient | None = None
        self._closed = False

    def upsert(self, points: Sequence[Point]) -> None:
        """Store points in one request, in place of those with their ids, and wait until they can be found.

        Without points the collection is opened and nothing else, so that one that does not fit is known early.
        """
        from qdrant_client import models

        structs = [
            models.PointStruct(
                id=point.id,
                vector={_DENSE: point.dense.tolist(), _TOKENS: point.tokens.tolist()},
                payload=point.payload,
            )
            for point in points
        ]
        with self._turns:
            client = self._opened()
            if structs:
                client.upsert(self._config.name, structs, wait=True)

    def search(
        self,
        dense: FloatArray,
        tokens: FloatArray,
        *,
        limit: int,
        prefetch: int,
        query_filter: models.Filter | None,
        exact: bool,
    ) -> list[QdrantHit]:
        """Find points by their dense vectors, and return the best by late interaction.

        Args:
            dense: *Shape:* ``(dimensions,)``, float32.
            tokens: *Shape:* ``(n_query_tokens, token_dimensions)``, float32.
            limit: How many to return.
            prefetch: How many to find.
            query_filter: Which may be found.
            exact: Whether to compare all dense vectors, instead of walking a server's graph.
        """
        from qdrant_client import models

        candidates = models.Prefetch(
            query=dense.tolist(),
            using=_DENSE,
            filter=query_filter,
            limit=prefetch,
            params=models.SearchParams(exact=True) if exact else None,
        )
        with self._turns:
            response = self._opened().query_points(
                self._config.name, prefetch=candidates, query=tokens.tolist(), using=_TOKENS, limit=limit
            )
        return [
            QdrantHit(id=str(point.id), score=point.score, payload=point.payload or {}) for point in response.points
        ]

    def payloads(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the payloads of points by their ids. Ids of none are not in it."""
        if not ids:
            return {}
        with self._turns:
            records = self._opened().retrieve(self._config.name, list(ids), with_payload=True)
        return {str(record.id): record.payload or {} for record in records}

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points. Ids of none are passed over."""
        if not ids:
            return
        from qdrant_client import models

        with self._turns:
            self._opened().delete(self._config.name, models.PointIdsList(points=list(ids)), wait=True)

    def count(self) -> int:
        """Count the points."""
        with self._turns:
            return self._opened().count(self._config.name, exact=True).count

    def close(self) -> None:
        """Close the client, unless it is the caller's."""
        with self._turns, self._opening:
            if self._client is not None:
                self._place.disconnect(self._client)
            self._client = None
            self._closed = True

    def _opened(self) -> QdrantClient:
        """Return the client; the first call makes it, and makes or checks the collection."""
        with self._opening:
            if self._closed:
                raise StoreClosedError(f"the index of {self._config.name!r} was closed. Make another one.")
            if self._client is None:
                self._client = self._connected()
            return self._client

    def _connected(self) -> QdrantClient:
        client = self._place.connect()
        with ExitStack() as unless_it_fits:
            unless_it_fits.callback(self._place.disconnect, client)
            if client.collection_exists(self._config.name):
                self._check(client.get_collection(self._config.name).config.params.vectors)
            else:
                client.create_collection(self._config.name, vectors_config=self._config.vectors())
            unless_it_fits.pop_all()
        return client

    def _check(self, vectors: dict[str, models.VectorParams] | models.VectorParams | None) -> None:
        """Raise unless a collection has our vectors. It may have others, too."""
        wanted = _facts(self._config.vectors())
        found = _facts(vectors if isinstance(vectors, dict) else {"": vectors} if vectors else {})
        if wanted.items() <= found.items():
            return
        raise StoreFormatError(
            f"the collection {self._config.name!r} must have the vectors {_listed(wanted)}, and the one that exists "
            f"has {_listed(found)}. Use another name, the model and dimensions that filled it, or delete it."
        )


def _facts(vectors: dict[str, models.VectorParams]) -> dict[str, str]:
    """Return what makes each named vector what it is; the rest may be tuned."""
    return {
        name: f"{params.size} {params.distance.value}"
        + (f" {params.multivector_config.comparator.value}" if params.multivector_config else "")
        for name, params in vectors.items()
    }


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name or 'unnamed'} ({fact})" for name, fact in facts.items()) or "none"
