"""A fake engine for the tests of programs that use this package: no vLLM, no weights, no waiting."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, get_args

import numpy as np
from PIL import Image

from jina_vllm_integrations.errors import EngineClosedError
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.sharing import SharedByCopies
from jina_vllm_integrations.model import pooling
from jina_vllm_integrations.model.checkpoints import Checkpoint, ImageGrid, SpecialTokens
from jina_vllm_integrations.model.projectors import Projector
from jina_vllm_integrations.preparation.random_checkpoint import byte_level_tokenizer
from jina_vllm_integrations.types import Embedding, ImagePrompt, Request, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from tokenizers import Tokenizer

_BUCKETS = 4096
_TOKEN_DIMENSIONS = 32


class FakeEngine(SharedByCopies, Closable):
    """Computes deterministic vectors that depend on the content.

    A text's token vector is drawn from the token and the two before it, an image's from the
    colour of its cell: texts that share words and pictures that share colours are similar, so
    rankings mean something. Prompts, limits, spans, pooling and errors are the real ones.

    Args:
        hidden_size: Full size of a dense vector; a quarter and a half of it are the Matryoshka sizes.
        max_tokens: Longest prompt.

    Example:
        >>> encoder = JinaEncoder(FakeEngine(), task="retrieval")
        >>> encoder.embed(["a text"], role="document").shape
        (1, 64)
    """

    max_in_flight = 64

    def __init__(self, *, hidden_size: int = 64, max_tokens: int = 4096) -> None:
        self.checkpoint: Checkpoint = _FakeCheckpoint.of_size(hidden_size, max_tokens)
        self.max_tokens = max_tokens
        self.fingerprint = f"fake {hidden_size}"
        rng = np.random.default_rng(0)
        self._states = rng.standard_normal((2 * _BUCKETS, hidden_size), dtype=np.float32)
        self._projector = Projector(
            weight=rng.standard_normal((_TOKEN_DIMENSIONS, hidden_size), dtype=np.float32),
            bias=np.zeros(_TOKEN_DIMENSIONS, dtype=np.float32),
        )
        self._executor = ThreadPoolExecutor(thread_name_prefix="fake-engine")
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, requests: Sequence[Request]) -> list[Future[Embedding]]:
        """Start work and return at once. See `jina_vllm_integrations.encoding.encoder.Engine`."""
        with self._lock:
            self._check_open()
            return [self._executor.submit(self._compute, request) for request in requests]

    def warm_up(self, requests: Sequence[Request]) -> None:
        """Compute. See `jina_vllm_integrations.encoding.encoder.Engine`."""
        for answer in self.submit(requests):
            answer.result()

    def close(self) -> None:
        """Stop. Waiting calls raise `EngineClosedError`."""
        with self._lock:
            self._closed = True
        self._executor.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("the fake engine was closed. Make another one.")

    def _compute(self, request: Request) -> Embedding:
        self._check_open()
        token_ids = np.asarray(request.prompt.token_ids, dtype=np.int64)
        grid = None
        states = self._states[_trigrams(token_ids)]
        if isinstance(request.prompt, ImagePrompt):
            image = request.prompt.image.load()
            grid = self.checkpoint.grid.of(*image.size)
            (placeholder,) = np.flatnonzero(token_ids == self.checkpoint.special.image_pad)
            cells = self._states[_BUCKETS + _colours(image, grid)]
            states = np.concatenate([states[:placeholder], cells, states[placeholder + 1 :]])
            token_ids = np.insert(token_ids, placeholder, [self.checkpoint.special.image_pad] * (len(cells) - 1))
        return pooling.pool(states, token_ids, self.checkpoint.special, request, projector=self._projector, grid=grid)


class _FakeCheckpoint(Checkpoint):
    """Facts as a checkpoint would state them, without files."""

    @classmethod
    def of_size(cls, hidden_size: int, max_tokens: int) -> Self:
        ids = byte_level_tokenizer().get_vocab()
        return cls(
            model="fake",
            path=Path("fake"),
            hidden_size=hidden_size,
            max_tokens=max_tokens,
            matryoshka_dimensions=(hidden_size // 4, hidden_size // 2, hidden_size),
            special=SpecialTokens(
                vision_start=ids["<|vision_start|>"],
                vision_end=ids["<|vision_end|>"],
                image_pad=ids["<|image_pad|>"],
            ),
            grid=ImageGrid(cell=28, min_pixels=3136, max_pixels=602112),
            token_tasks=get_args(Task),
            token_dimensions=_TOKEN_DIMENSIONS,
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        tokenizer = byte_level_tokenizer()
        tokenizer.encode_special_tokens = True
        return tokenizer


def _trigrams(token_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return a bucket for each token and the two before it. *Shape:* unchanged."""
    before = np.concatenate([[0, 0], token_ids])
    buckets: npt.NDArray[np.int64] = (token_ids * 31 + before[1:-1] * 331 + before[:-2] * 3331) % _BUCKETS
    return buckets


def _colours(image: Image.Image, grid: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return a bucket for each cell's mean colour, eight levels a channel. *Shape:* ``(rows * columns,)``."""
    rows, columns = grid
    cells = np.asarray(image.resize((columns, rows), Image.Resampling.BOX), dtype=np.int64).reshape(-1, 3) // 32
    buckets: npt.NDArray[np.int64] = cells @ np.array([64, 8, 1])
    return buckets
