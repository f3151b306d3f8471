"""What an embedding of LlamaIndex's is made with, and what is written down of it."""

# Pydantic reads the annotations of this module, so they are not postponed.
import hashlib
import json
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, ClassVar, Self
from uuid import uuid4

from llama_index.core.embeddings import MultiModalEmbedding
from pydantic import ConfigDict, Field, SkipValidation, field_serializer, model_validator

from jina_vllm_integrations.adapters.copying import CopiedBySettings
from jina_vllm_integrations.encoding.engine import Engine
from jina_vllm_integrations.engines.vllm_options import vector_options
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.types import EmptyText, Task

# Opens the model, and changes nothing about it.
_SECRET_OPTIONS = {"hf_token"}
# What a dictionary has for the sake of its hash, or what follows from the rest.
_DERIVED = {"ingested_as", "model_name", "engine_options"}


class EmbeddingSettings(CopiedBySettings, MultiModalEmbedding):
    """The settings of a `JinaVLLMEmbedding`, whose documentation describes them."""

    model_config = ConfigDict(extra="forbid")

    shared: ClassVar[frozenset[str]] = frozenset({"engine", "embeddings_cache"})
    of_process: ClassVar[frozenset[str]] = frozenset({"callback_manager", "rate_limiter"})

    engine: SkipValidation[Engine | None] = Field(default=None, exclude=True, repr=False, frozen=True)
    model: str | None = Field(default=None, frozen=True)
    task: Task = Field(default="retrieval", frozen=True)
    dimensions: int | None = Field(default=None, frozen=True)
    embed_batch_size: int = Field(default=1024, gt=0, le=2048)
    truncate: bool = Field(default=False, frozen=True)
    image_limits: ImageLimits = Field(default=ImageLimits(), frozen=True)
    empty_text: EmptyText = Field(default="raise", frozen=True)
    engine_options: dict[str, Any] = Field(default_factory=dict, repr=False, frozen=True)
    embeddings_cache: Any = Field(default=None, exclude=True, repr=False)
    ingestion_cache: bool = Field(default=False, frozen=True)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised settings have."""
        return "JinaVLLMEmbedding"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings, without what is the caller's and without secrets.

        An `IngestionPipeline` hashes them to find nodes that it has seen, known by their text alone. So they are equal
        for no two calls, unless ``ingestion_cache`` was chosen: then they tell the model of a given engine with all
        its weights.
        """
        return {**super().to_dict(**kwargs), "ingested_as": self._ingested_as()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Make one of the settings of another.

        Args:
            data: What `to_dict` returned.
            kwargs: What that left out (``engine``, ``embeddings_cache``, ``engine_options``), or other settings.

        Raises:
            ValidationError: As when one is made.
            OptionError: It had ``engine_options`` that change vectors, and others are given.
        """
        made = super().from_dict({name: data[name] for name in data.keys() - _DERIVED}, **kwargs)
        options = data.get("engine_options", {})
        if options != made._digests(made.engine_options):  # noqa: SLF001 - of this class
            raise OptionError(
                f"engine_options must be those of the embedding that was serialised, which had "
                f"{', '.join(sorted(options)) or 'none'} that change vectors. Their values are not written down, pass "
                "from_dict(data, engine_options={...})."
            )
        return made

    @model_validator(mode="before")
    @classmethod
    def _model_by_either_name(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name, model, engine = (values.get(key) for key in ("model_name", "model", "engine"))
        if model is None and engine is None:
            model = name
        if isinstance(model, PathLike):
            model = fspath(model)
        if name not in (None, model):
            raise OptionError(f"model_name is the model's, got {name!r} for {model or 'an engine'!r}. Leave it out.")
        return {**values, "model": model, **({} if model is None else {"model_name": model})}

    @field_serializer("engine_options")
    def _digests(self, options: dict[str, Any]) -> dict[str, str]:
        """Return what tells options apart that change vectors, and does not tell them."""
        telling = vector_options(options).items()
        return {name: _digest(value) for name, value in sorted(telling) if name not in _SECRET_OPTIONS}

    @field_serializer("image_limits")
    def _plain(self, limits: ImageLimits) -> dict[str, Any]:
        return {**vars(limits), "private_hosts": sorted(limits.private_hosts)}  # sets have no order to hash

    @field_serializer("model_name")
    def _served(self, name: str) -> str:
        return name if self.engine is None else self.engine.checkpoint.model

    def _ingested_as(self) -> str:
        if not self.ingestion_cache:
            return uuid4().hex
        return self.model_name if self.engine is None else self.engine.fingerprint

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in super()._settings().items() if name != "model_name"}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()[:16]
