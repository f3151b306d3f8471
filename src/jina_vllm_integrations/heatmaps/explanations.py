"""What a score is made of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations import images
from jina_vllm_integrations.errors import InputError, ItemTypeError, OptionError, naming
from jina_vllm_integrations.heatmaps import overlays, sheets
from jina_vllm_integrations.heatmaps.findings import Findings
from jina_vllm_integrations.heatmaps.labels import prompt_tokens, token_labels
from jina_vllm_integrations.scoring import align
from jina_vllm_integrations.scoring.compression import check_factor, pool_tokens
from jina_vllm_integrations.scoring.quantization import dequantize
from jina_vllm_integrations.types import ImageInput, TextInput

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from PIL import Image
    from tokenizers import Tokenizer

    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.images import ImageSource
    from jina_vllm_integrations.types import Embedding, Item, Request, TokenVectors

_LONGEST_SIDE = 1600


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation(Findings):
    """What each token of a query found in a page's image. Made by `explain` and `explain_tokens`.

    Its numbers are those of `Findings`; here they are drawn.
    """

    def overlay(
        self, image: Item, *, token: int | None = None, limits: images.ImageLimits = images.ImageLimits()
    ) -> Image.Image:
        """Draw one map over the page.

        Args:
            image: The page, given as to `JinaEncoder`.
            token: Whose similarities to draw, those above its median, with a frame around the cells that won; ``None``
                for the total.
            limits: What the image may cost.

        Returns:
            Mode RGB, of the page's size or, if that is larger, with 1600 pixels on the longer side.

        Raises:
            InputError: The image is a text, or cannot be read.
            OptionError: There is no such token.
        """
        if token is None:
            return overlays.draw_total(_page(image, limits), self)
        if type(token) is not int or not 0 <= token < len(self.labels):
            raise OptionError(f"token must be None or from 0 to {len(self.labels) - 1}, got {token!r}.")
        return overlays.draw_token(_page(image, limits), self, token)

    def sheet(
        self,
        image: Item,
        *,
        font: str | os.PathLike[str] | None = None,
        limits: images.ImageLimits = images.ImageLimits(),
    ) -> Image.Image:
        r"""Draw the total, and a tile for each token of the query, with its number, characters and best similarity.

        A tile shows the similarities above the token's median, and frames the winner; without a frame, the winner is
        no cell. Of more than 60 tokens, those that add most get tiles.

        Args:
            image: The page, given as to `JinaEncoder`.
            font: A font file that has the query's characters; ``None`` for DejaVu Sans where it is installed, else
                for Pillow's own, which is plain ASCII. What the font lacks is written as an escape, e.g. ``\u6771``.
            limits: What the image may cost.

        Returns:
            Mode RGB, at most 1162 pixels wide.

        Raises:
            InputError: The image is a text, or cannot be read.
            OptionError: The font cannot be read.
        """
        return sheets.draw_sheet(_page(image, limits), self, font)


def explain(encoder: JinaEncoder, query: Item, image: Item, *, pool_factor: int = 1) -> Explanation:
    """Say what each token of a query finds in a page.

    Args:
        encoder: Embeds both. Its checkpoint needs a multi-vector head.
        query: A text or an image.
        image: The page, given as to `JinaEncoder`: a ``str`` is a text, so write ``ImageInput(path)``.
        pool_factor: Pool the page's tokens as `pool_tokens` does, to see what a smaller index would find.

    Raises:
        InputError: The query or the image cannot be embedded, or the image is a text.
        OptionError: The factor is not a whole number from 1.
        CheckpointError: The checkpoint has no multi-vector head.
        MissingExtraError: SciPy, which pooling needs, is not installed.
        EngineError: The engine did not start, was closed or died.

    Example:
        >>> explanation = explain(encoder, "Where is the total?", Path("invoice.png"))
        >>> row, column = np.unravel_index(explanation.total.argmax(), explanation.total.shape)
        >>> explanation.overlay(Path("invoice.png")).save("total.png")
    """
    requests = _requests(encoder, query, image, pool_factor)
    with naming(None):
        embeddings = list(encoder.compute(requests))
    return _explained(encoder, embeddings, pool_factor)


async def aexplain(encoder: JinaEncoder, query: Item, image: Item, *, pool_factor: int = 1) -> Explanation:
    """Do as `explain`, without blocking the event loop. Cancelling stops the work."""
    requests = await asyncio.to_thread(_requests, encoder, query, image, pool_factor)
    with naming(None):
        embeddings = await encoder.acompute(requests)
    return await asyncio.to_thread(_explained, encoder, embeddings, pool_factor)


def explain_tokens(query: TokenVectors, page: TokenVectors, tokenizer: Tokenizer) -> Explanation:
    """Do as `explain`, for token vectors that are there already.

    Args:
        query: One vector a token, not pooled.
        page: Those of an image, in any dtype, pooled or not.
        tokenizer: The checkpoint's, ``encoder.engine.checkpoint.tokenizer``.

    Raises:
        InputError: The page is a text, the query was pooled, or `scoring.align` refuses them.
    """
    if page.grid is None:
        raise InputError(
            f"the page must be an image, got the {len(page.token_ids)} tokens of a text, which has no grid of cells. "
            "Explain an image's vectors."
        )
    if query.row_of_token is not None:
        raise InputError(
            f"the query must have a vector for each token, got {len(query.vectors)} rows of "
            f"{len(query.row_of_token)} pooled tokens. Pool documents only."
        )
    alignment = align(query, page)
    similarities = dequantize(page.vectors, page.scales) @ dequantize(query.vectors, query.scales).T
    row_of_token = np.arange(len(page.vectors)) if page.row_of_token is None else page.row_of_token
    row_of_cell = row_of_token[page.image_mask]
    shape = (len(query.vectors), *page.grid)

    won = row_of_cell == alignment.rows[:, None]
    n_tokens = np.bincount(row_of_token)[alignment.rows].astype(np.float32)
    each = alignment.similarities / n_tokens
    return Explanation(
        similarities=similarities[row_of_cell].T.reshape(shape),
        attribution=(won * each[:, None]).reshape(shape),
        elsewhere=float(each @ (n_tokens - won.sum(axis=1))),
        alignment=alignment,
        labels=token_labels(query, tokenizer),
        prompt_mask=prompt_tokens(query, tokenizer),
    )


def image_source(image: Item) -> ImageSource:
    """Return the image of an item.

    Raises:
        ItemTypeError: It is a text.
    """
    if isinstance(image, str | TextInput):
        text = image if isinstance(image, str) else image.text
        raise ItemTypeError(
            f"the page must be an image, got the text {text!r:.60}. Write ImageInput(...) around a path."
        )
    return image.source if isinstance(image, ImageInput) else image


def _page(image: Item, limits: images.ImageLimits) -> Image.Image:
    page = images.inspect(image_source(image), limits).load()
    page.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return page


def _requests(encoder: JinaEncoder, query: Item, image: Item, pool_factor: int) -> list[Request]:
    """Check both items, and return their requests."""
    check_factor(pool_factor)
    image_source(image)
    with naming(None):
        return [
            *encoder.requests([query], role="query", output="tokens"),
            *encoder.requests([image], role="document", output="tokens"),
        ]


def _explained(encoder: JinaEncoder, embeddings: Sequence[Embedding], pool_factor: int) -> Explanation:
    query, page = (embedding.tokens for embedding in embeddings)
    assert query is not None
    assert page is not None
    with naming(None):
        return explain_tokens(query, pool_tokens(page, pool_factor), encoder.engine.checkpoint.tokenizer)
