"""An encoder that computes equal items once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jina_vllm_integrations.errors import renaming
from jina_vllm_integrations.types import Embedding, FloatArray, Item, Request, Role, TextPrompt

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder


class UniqueEncoder:
    """Embeds items as a `JinaEncoder` does, and computes once what is equal among the items of a call.

    LlamaIndex cuts a captioned picture into nodes that each have all of the picture. Equal are texts, encoded images
    with the same bytes, paths, URLs, and one PIL image; nothing is read to find out.

    Args:
        encoder: Who computes.
    """

    def __init__(self, encoder: JinaEncoder) -> None:
        self._encoder = encoder

    def embed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Embed items as `JinaEncoder.embed` does.

        Returns:
            Each row L2-normalised. *Shape:* ``(len(items), dimensions)``, float32.
        """
        unique = _Unique(self._encoder.requests(items, role=role, output="dense"))
        with renaming(unique.positions):
            return unique.rows(list(self._encoder.compute(unique.requests)))

    async def aembed(self, items: Sequence[Item], *, role: Role) -> FloatArray:
        """Do as `embed`, without blocking the event loop. Cancelling stops the work."""
        requests = await asyncio.to_thread(self._encoder.requests, items, role=role, output="dense")
        unique = await asyncio.to_thread(_Unique, requests)
        with renaming(unique.positions):
            embeddings = await self._encoder.acompute(unique.requests)
        return await asyncio.to_thread(unique.rows, embeddings)


class _Unique:
    """Requests without those that an earlier one equals.

    Attributes:
        requests: The first of each kind.
        positions: Theirs among all.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._keys = [_key(request) for request in requests]
        firsts: dict[Hashable, int] = {}
        for position, key in enumerate(self._keys):
            firsts.setdefault(key, position)
        self._row_of = {key: row for row, key in enumerate(firsts)}
        self.positions = list(firsts.values())
        self.requests = [requests[position] for position in self.positions]

    def rows(self, embeddings: Sequence[Embedding]) -> FloatArray:
        """Return a vector for each of all requests. *Shape:* ``(n_requests, dimensions)``, float32."""
        return np.stack([_dense(embeddings[self._row_of[key]]) for key in self._keys])


def _dense(embedding: Embedding) -> FloatArray:
    assert embedding.dense is not None
    return embedding.dense


def _key(request: Request) -> Hashable:
    prompt = request.prompt
    if isinstance(prompt, TextPrompt):
        return tuple(prompt.token_ids)
    origin = prompt.image.origin
    return id(origin) if isinstance(origin, Image.Image) else origin
