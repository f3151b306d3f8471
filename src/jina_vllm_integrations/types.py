"""The records and literals that cross the seams of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import Image

    from jina_vllm_integrations.images import ImageHandle, ImageSource, PageSource

Role = Literal["query", "document"]
"""What an item is in a search. Decides the prefix of a text's prompt."""

Task = Literal["retrieval", "text-matching", "code"]
"""What the vectors are for. Decides the adapter, and for text-matching the prefix."""

EmptyText = Literal["raise", "prompt"]
"""What to do about a text without content: raise, or embed its prompt alone."""

Output = Literal["dense", "tokens", "both"]
"""One vector an item, one vector a token, or the two from one forward pass."""

FloatArray: TypeAlias = npt.NDArray[np.float32]

VectorDtype = Literal["float32", "float16", "int8"]
"""How token vectors are kept: as computed, in half the bytes, or in a quarter with a scale a row."""

VectorArray: TypeAlias = npt.NDArray[Any]
"""An array of a `VectorDtype`."""


@dataclass(frozen=True)
class TextInput:
    """A text, said explicitly. A bare ``str`` means the same."""

    text: str


@dataclass(frozen=True)
class ImageInput:
    """An image, said explicitly.

    Needed for an image that is named by a ``str`` (path, URL or data URI), because a bare ``str``
    is always a text. Every other source may also be given bare.
    """

    source: ImageSource


Item: TypeAlias = (
    "str | TextInput | ImageInput | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image "
    "| PageSource"
)
"""Anything that can be embedded."""


@dataclass(frozen=True)
class TextImageQuery:
    """A text and an image that are searched for together: this picture, and what the words add to it.

    Such a query is this package's, not the model's authors', whose model reads a text or an image. Each half is
    computed as a query of its own, in one batch, and counts as much as the other:

    - By dense vectors it is the sum of both halves', L2-normalised: a document's rank is that of the mean of its
      similarities to both.
    - By late interaction a score is the mean of both halves' MaxSim, each of which is the ``"mean"`` over its own
      tokens. An image has several times the tokens of a text, and would drown it if all counted alike. What is asked
      for as a ``"sum"`` is this mean times the number of tokens of both.

    Attributes:
        text: What is searched for, in words.
        image: What is searched for, as an image; here a ``str`` is a path, URL or data URI.
    """

    text: str
    image: ImageSource | ImageInput


Query: TypeAlias = "Item | TextImageQuery"
"""Anything that can be searched for."""


@dataclass(frozen=True, kw_only=True)
class TextPrompt:
    """A text as the model reads it: prefix and text, tokenised."""

    token_ids: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ImagePrompt:
    """An image as the model reads it.

    Attributes:
        token_ids: The prompt with a single image placeholder, which the engine expands to one
            token for each cell of the image's grid.
        image: The checked image, not yet decoded.
    """

    token_ids: Sequence[int]
    image: ImageHandle


Prompt: TypeAlias = TextPrompt | ImagePrompt


@dataclass(frozen=True, kw_only=True)
class Request:
    """One item's work for an engine.

    Attributes:
        prompt: What the model reads.
        task: Whose adapter and projector compute it.
        output: What the caller wants.
        dimensions: Matryoshka size of a dense vector; ``None`` for the full size.
    """

    prompt: Prompt
    task: Task
    output: Output
    dimensions: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenVectors:
    """One item as one vector a token, for late interaction.

    As an engine returns them, row i belongs to token i, in float32. A `TokenStore` may return fewer rows, where
    similar tokens were pooled, and smaller numbers.

    Attributes:
        vectors: Each row L2-normalised. *Shape:* ``(n_rows, dim)``, float32, float16, or int8 with ``scales``.
        token_ids: The prompt after the image placeholder was expanded. *Shape:* ``(n_tokens,)``, int64.
        image_mask: Which tokens are cells of the image. *Shape:* ``(n_tokens,)``, bool.
        grid: Rows and columns of the image's cells in reading order, ``None`` for a text.
            ``vectors[image_mask].reshape(*grid, -1)`` lays them out as the image is, where no token was pooled.
        scales: What an int8 row is multiplied by; ``None`` for floats. *Shape:* ``(n_rows,)``, float32.
        row_of_token: The row of each token, where tokens were pooled; ``None`` where row i belongs to token i.
            *Shape:* ``(n_tokens,)``, int64.
    """

    vectors: VectorArray
    token_ids: npt.NDArray[np.int64]
    image_mask: npt.NDArray[np.bool_]
    grid: tuple[int, int] | None
    scales: FloatArray | None = None
    row_of_token: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """What an engine answers to a `Request`. The part that was not asked for is ``None``.

    Attributes:
        dense: L2-normalised. *Shape:* ``(dim,)``, float32.
        tokens: The token vectors.
    """

    dense: FloatArray | None = None
    tokens: TokenVectors | None = None


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A document that a search found.

    Attributes:
        index: Position of the document in what was searched.
        score: Its score; more is better.
    """

    index: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Ranked(Hit):
    """A candidate that was reranked.

    Attributes:
        index: Position of the candidate in the caller's sequence.
        score: Its MaxSim with the query.
        stored: Whether its vectors came from the store, or were encoded for this call.
    """

    stored: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """Which row of a document each token of a query found.

    Attributes:
        rows: The winning row; of equals the first. *Shape:* ``(n_query_tokens,)``, int64.
        similarities: Its inner product with the query's token; they sum to the score.
            *Shape:* ``(n_query_tokens,)``, float32.
    """

    rows: npt.NDArray[np.int64]
    similarities: FloatArray
