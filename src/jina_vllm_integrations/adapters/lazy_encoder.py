"""An encoder for adapters, whose construction must cost nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, Self

from jina_vllm_integrations.encoding.encoder import JinaEncoder
from jina_vllm_integrations.errors import EngineClosedError, OptionError
from jina_vllm_integrations.images import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jina_vllm_integrations.encoding.engine import Engine
    from jina_vllm_integrations.types import EmptyText, Task


class EncoderSettings(Protocol):
    """An adapter's fields about its encoder. Each adapter declares them itself, in an order of its own, some frozen."""

    @property
    def engine(self) -> Engine | None:
        """The caller's, who closes it."""

    @property
    def model(self) -> str | Path | None:
        """Whose engine to make where none was given."""

    @property
    def engine_options(self) -> Mapping[str, Any]:
        """Of the engine to make."""

    @property
    def task(self) -> Task:
        """As for `JinaEncoder`, like the following."""

    @property
    def truncate(self) -> bool:
        """Cut texts that are too long."""

    @property
    def image_limits(self) -> ImageLimits:
        """What an image may cost."""


class LazyEncoder:
    """Makes a `JinaEncoder` when it is first used, over the caller's engine or over one of its own.

    Engines of its own with equal settings share one vLLM, as all `InProcessEngine` do.

    Args:
        engine: The caller's, who closes it.
        model: Whose engine to make where none was given, as for `InProcessEngine`.
        task: As for `JinaEncoder`, like the following.
        dimensions: Matryoshka size of dense vectors.
        truncate: Cut texts that are too long.
        image_limits: What an image may cost.
        engine_options: Of the engine to make, vLLM's among them.
        empty_text: As for `JinaEncoder`.

    Raises:
        OptionError: Neither or both of ``engine`` and ``model``, or options for an engine that was given.
    """

    def __init__(
        self,
        *,
        engine: Engine | None,
        model: str | Path | None,
        task: Task,
        dimensions: int | None = None,
        truncate: bool = False,
        image_limits: ImageLimits = ImageLimits(),
        engine_options: Mapping[str, Any] | None = None,
        empty_text: EmptyText = "raise",
    ) -> None:
        if (engine is None) == (model is None):
            raise OptionError("one of engine and model must be given. Pass model='jinaai/...' or an engine of yours.")
        if engine is not None and engine_options:
            raise OptionError(f"engine options go with model=, got {', '.join(engine_options)} with an engine.")
        self._engine = engine
        self._model = model
        self._engine_options = dict(engine_options or {})
        self._encoder_options: dict[str, Any] = {
            "task": task,
            "dimensions": dimensions,
            "truncate": truncate,
            "image_limits": image_limits,
            "empty_text": empty_text,
        }
        self._lock = threading.Lock()
        self._encoder: JinaEncoder | None = None
        self._closed = False

    @classmethod
    def of(cls, settings: EncoderSettings, *, dimensions: int | None = None, empty_text: EmptyText = "raise") -> Self:
        """Return the encoder of an adapter, with Matryoshka dimensions if it has dense vectors.

        Raises:
            OptionError: As when one is made.
        """
        return cls(
            engine=settings.engine,
            model=settings.model,
            task=settings.task,
            dimensions=dimensions,
            truncate=settings.truncate,
            image_limits=settings.image_limits,
            engine_options=settings.engine_options,
            empty_text=empty_text,
        )

    def get(self) -> JinaEncoder:
        """Return the encoder; the first call reads the model's metadata, and vLLM starts with the first encode.

        Raises:
            EngineClosedError: This was closed.
            CheckpointError: The model cannot be served.
            OptionError: An option of the encoder or the engine does not exist.
            MissingExtraError: vLLM is not installed.
        """
        with self._lock:
            if self._closed:
                raise EngineClosedError(f"the adapter of {self._model or 'an engine'!r} was closed. Make another one.")
            if self._encoder is None:
                engine = self._own_engine() if self._engine is None else self._engine
                self._encoder = JinaEncoder(engine, **self._encoder_options)
            return self._encoder

    def close(self) -> None:
        """Close an engine of its own; the caller's stays open."""
        with self._lock:
            self._closed = True
            if self._encoder is not None and self._engine is None:
                self._encoder.engine.close()

    def _own_engine(self) -> Engine:
        from jina_vllm_integrations.engines.in_process import InProcessEngine

        assert self._model is not None
        return InProcessEngine(self._model, **self._engine_options)
