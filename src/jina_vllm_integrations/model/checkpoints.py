"""What a checkpoint says of itself: sizes, token ids, pixel limits, tokenizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jina_vllm_integrations.errors import CheckpointError
from jina_vllm_integrations.images.shapes import check_shape
from jina_vllm_integrations.model.files import locate, read_json
from jina_vllm_integrations.model.projectors import PROJECTOR_FILE, projector_file, read_projectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from jina_vllm_integrations.types import Task

MODEL_TYPE = "qwen2_5_vl"
_METADATA = ("config.json", "preprocessor_config.json", "tokenizer.json")
_FILES = (*_METADATA, str(PROJECTOR_FILE), "adapters/*")


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Ids of the tokens that frame an image."""

    vision_start: int
    vision_end: int
    image_pad: int


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """How the processor cuts an image into cells, each of which becomes one token.

    Attributes:
        cell: Side of a square cell in pixels: patch size times merge size.
        min_pixels: Smaller images are enlarged to at least this many pixels.
        max_pixels: Larger images are shrunk to at most this many pixels.
    """

    cell: int
    min_pixels: int
    max_pixels: int

    def with_limits(self, processor_options: Mapping[str, Any]) -> ImageGrid:
        """Return the grid under vLLM's ``mm_processor_kwargs``, which may set other pixel limits."""
        # vLLM takes None for not set, and the older names before the newer ones.
        size = processor_options.get("size") or {}
        least = processor_options.get("min_pixels") or size.get("shortest_edge") or self.min_pixels
        most = processor_options.get("max_pixels") or size.get("longest_edge") or self.max_pixels
        return replace(self, min_pixels=int(least), max_pixels=int(most))

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Return the rows and columns of an image's cells.

        The arithmetic is that of Qwen2-VL's ``smart_resize``: both sides become multiples of
        a cell, the area stays within the pixel limits, the aspect ratio is kept as far as
        that allows.

        Args:
            width: In pixels, after the EXIF orientation was applied.
            height: In pixels, likewise.

        Raises:
            ImageSizeError: The image is too flat for the processor.
        """
        check_shape(width, height)
        rows, columns = round(height / self.cell), round(width / self.cell)
        area = rows * columns * self.cell**2
        if area > self.max_pixels:
            # Operation by operation as there: another order of the divisions moves the last bit, and a cell with it.
            shrink = math.sqrt((height * width) / self.max_pixels)
            rows = max(1, math.floor(height / shrink / self.cell))
            columns = max(1, math.floor(width / shrink / self.cell))
        elif area < self.min_pixels:
            enlarge = math.sqrt(self.min_pixels / (height * width))
            rows, columns = math.ceil(height * enlarge / self.cell), math.ceil(width * enlarge / self.cell)
        return rows, columns


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The facts of a jina-embeddings-v4 checkpoint that the code around the model needs.

    Attributes:
        model: The directory or hub id that vLLM loads.
        path: The local directory of the metadata files.
        hidden_size: Full size of a dense vector.
        max_tokens: The longest prompt that the model's positions allow.
        matryoshka_dimensions: Sizes that a dense vector may be cut to, ascending, the full size included.
        special: Ids of the tokens that frame an image.
        grid: How images become tokens.
        tasks: What the vectors may be for; empty where the checkpoint does not say.
        token_tasks: The tasks that have a multi-vector head.
        token_dimensions: Size of a token vector; ``None`` for a checkpoint without a multi-vector head.
        projector_file: Where that head is.
        adapters: The LoRA adapter of each task, where they are not merged into the weights.
    """

    model: str
    path: Path
    hidden_size: int
    max_tokens: int
    matryoshka_dimensions: tuple[int, ...]
    special: SpecialTokens
    grid: ImageGrid
    tasks: tuple[Task, ...] = ()
    token_tasks: tuple[Task, ...] = ()
    token_dimensions: int | None = None
    projector_file: Path | None = None
    adapters: Mapping[Task, Path] = field(default_factory=dict)

    @classmethod
    def read(
        cls, model: str | Path, *, revision: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        """Read a checkpoint's metadata; weights are not opened.

        Args:
            model: A local directory, or a hub id whose metadata files are fetched into the hub's cache.
            revision: Branch, tag or commit on the hub.
            overrides: Values that replace those of ``config.json``, as vLLM's ``hf_overrides``.

        Raises:
            CheckpointError: The directory does not exist, lacks files, is damaged, or holds another model.
        """
        path = locate(str(model), _FILES, revision=revision)
        missing = [name for name in _METADATA if not (path / name).is_file()]
        if missing:
            raise CheckpointError(
                f"a checkpoint needs {', '.join(_METADATA)}; {str(path)!r} lacks {', '.join(missing)}. Fetch them."
            )
        config = _overridden(read_json(path / "config.json"), overrides or {})
        if config.get("model_type") != MODEL_TYPE:
            raise CheckpointError(
                f"a jina-embeddings-v4 checkpoint has the model_type {MODEL_TYPE!r}, "
                f"{str(path)!r} has {config.get('model_type')!r}. Use a jinaai/jina-embeddings-v4-vllm-* model."
            )
        processor = read_json(path / "preprocessor_config.json")
        try:
            return cls(model=str(model), path=path, **_facts(config, processor), **_heads(config, path))
        except KeyError as error:
            raise CheckpointError(
                f"{str(path)!r} is damaged: config.json or preprocessor_config.json lacks {error}. Fetch them again."
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{str(path)!r} is damaged: a value in config.json or preprocessor_config.json is of the wrong kind "
                f"({error}). Fetch them again."
            ) from error

    def require_weights(self) -> None:
        """Check that a local directory has weights.

        Raises:
            CheckpointError: It has none.
        """
        if Path(self.model).is_dir() and not any(self.path.glob("*.safetensors")):
            raise CheckpointError(
                f"{str(self.path)!r} has no *.safetensors file. Fetch the weights, or pass load_format='dummy'."
            )

    def with_projectors(self, path: str | Path) -> Checkpoint:
        """Return this checkpoint with the multi-vector head of another one.

        Args:
            path: A prepared checkpoint, or its file of projectors.

        Raises:
            CheckpointError: There are none, or they do not fit this model.
        """
        file = projector_file(path).resolve()
        projectors = read_projectors(file)
        shapes = {projector.weight.shape for projector in projectors.values()}
        if len(shapes) != 1 or (shape := shapes.pop())[1] != self.hidden_size:
            raise CheckpointError(
                f"projectors must map {self.hidden_size} values, those of {str(file)!r} do not. Use the same model's."
            )
        if missing := [task for task in self.tasks if task not in projectors]:
            raise CheckpointError(
                f"{self.model!r} serves {', '.join(self.tasks)}, and {str(file)!r} lacks the head of "
                f"{', '.join(missing)}. Use projectors that were prepared for the same tasks."
            )
        heads = cast("tuple[Task, ...]", self.tasks or tuple(projectors))
        return replace(self, projector_file=file, token_dimensions=shape[0], token_tasks=heads)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, set to read special tokens in a text as the plain characters they are."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        except Exception as error:
            raise CheckpointError(
                f"{str(self.path / 'tokenizer.json')!r} cannot be read: {error}. Fetch it again."
            ) from error
        tokenizer.encode_special_tokens = True
        return tokenizer


def _overridden(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Replace values one by one, also in sections, as vLLM does."""
    merged = dict(config)
    for name, value in overrides.items():
        section = merged.get(name)
        if isinstance(section, Mapping) and isinstance(value, Mapping):
            merged[name] = _overridden(section, value)
        else:
            merged[name] = value
    return merged


def _facts(config: dict[str, Any], processor: dict[str, Any]) -> dict[str, Any]:
    # Before transformers 5 the language model's values stood at the top level.
    text = config.get("text_config", config)
    vision = config["vision_config"]
    hidden_size = int(text["hidden_size"])
    # Jina's own key, then the one that vLLM reads.
    sizes = [int(size) for size in config.get("matryoshka_dims") or config.get("matryoshka_dimensions") or []]
    if any(not 0 < size <= hidden_size for size in sizes):
        raise ValueError(f"Matryoshka sizes {sizes} of vectors of size {hidden_size}")
    limits = processor.get("size", {})
    return {
        "hidden_size": hidden_size,
        "max_tokens": int(text["max_position_embeddings"]),
        "matryoshka_dimensions": tuple(sorted({*sizes, hidden_size})),
        "special": SpecialTokens(
            vision_start=int(config["vision_start_token_id"]),
            vision_end=int(config["vision_end_token_id"]),
            image_pad=int(config["image_token_id"]),
        ),
        "grid": ImageGrid(
            cell=int(vision["patch_size"]) * int(vision["spatial_merge_size"]),
            min_pixels=int(processor.get("min_pixels") or limits["shortest_edge"]),
            max_pixels=int(processor.get("max_pixels") or limits["longest_edge"]),
        ),
    }


def _heads(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Read what `jina-vllm prepare` adds to a checkpoint."""
    tasks = tuple(config.get("jina_tasks", ()))
    has_projectors = (path / PROJECTOR_FILE).is_file()
    return {
        "tasks": tasks,
        "token_tasks": tasks if has_projectors else (),
        "token_dimensions": int(config["multi_vector_dim"]) if has_projectors else None,
        "projector_file": path.resolve() / PROJECTOR_FILE if has_projectors else None,
        "adapters": {task: path.resolve() / "adapters" / task for task in tasks if (path / "adapters" / task).is_dir()},
    }
