"""What a checkpoint says of itself: sizes, token ids, pixel limits, tokenizer."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import CheckpointError, ImageSizeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer

MODEL_TYPE = "qwen2_5_vl"
_METADATA = ("config.json", "preprocessor_config.json", "tokenizer.json")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# The processor's own rule (Qwen2-VL's smart_resize): flatter images are refused.
_MAX_ASPECT_RATIO = 200


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
        size = processor_options.get("size", {})
        return replace(
            self,
            min_pixels=int(processor_options.get("min_pixels", size.get("shortest_edge", self.min_pixels))),
            max_pixels=int(processor_options.get("max_pixels", size.get("longest_edge", self.max_pixels))),
        )

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
        if max(width, height) > _MAX_ASPECT_RATIO * min(width, height):
            raise ImageSizeError(
                f"the model takes images up to {_MAX_ASPECT_RATIO} times as long as wide, got {width}x{height} pixels. "
                "Cut the image into pieces or pad it."
            )
        rows, columns = round(height / self.cell), round(width / self.cell)
        area = rows * columns * self.cell**2
        if area > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels) * self.cell
            rows, columns = max(1, math.floor(height / shrink)), max(1, math.floor(width / shrink))
        elif area < self.min_pixels:
            enlarge = math.sqrt(self.min_pixels / (height * width)) / self.cell
            rows, columns = math.ceil(height * enlarge), math.ceil(width * enlarge)
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
    """

    model: str
    path: Path
    hidden_size: int
    max_tokens: int
    matryoshka_dimensions: tuple[int, ...]
    special: SpecialTokens
    grid: ImageGrid

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
        path = _locate(str(model), revision)
        missing = [name for name in _METADATA if not (path / name).is_file()]
        if missing:
            raise CheckpointError(
                f"a checkpoint needs {', '.join(_METADATA)}; {str(path)!r} lacks {', '.join(missing)}. Fetch them."
            )
        config = {**_read_json(path / "config.json"), **(overrides or {})}
        if config.get("model_type") != MODEL_TYPE:
            raise CheckpointError(
                f"a jina-embeddings-v4 checkpoint has the model_type {MODEL_TYPE!r}, "
                f"{str(path)!r} has {config.get('model_type')!r}. Use a jinaai/jina-embeddings-v4-vllm-* model."
            )
        processor = _read_json(path / "preprocessor_config.json")
        try:
            return cls(model=str(model), path=path, **_facts(config, processor))
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{str(path)!r} is damaged: config.json or preprocessor_config.json lacks {error}. Fetch them again."
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


def _facts(config: dict[str, Any], processor: dict[str, Any]) -> dict[str, Any]:
    # Before transformers 5 the language model's values stood at the top level.
    text = config.get("text_config", config)
    vision = config["vision_config"]
    hidden_size = int(text["hidden_size"])
    # Jina's own key, then the one that vLLM reads.
    sizes = config.get("matryoshka_dims") or config.get("matryoshka_dimensions") or []
    limits = processor.get("size", {})
    return {
        "hidden_size": hidden_size,
        "max_tokens": int(text["max_position_embeddings"]),
        "matryoshka_dimensions": tuple(sorted({*map(int, sizes), hidden_size})),
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


def _locate(model: str, revision: str | None) -> Path:
    if Path(model).is_dir():
        return Path(model)
    if Path(model).exists() or not _HUB_ID.fullmatch(model):
        raise CheckpointError(
            f"a model is a directory or a hub id such as 'owner/name', got {model!r}, which is neither."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_METADATA)))
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"no directory {model!r} exists, and its metadata could not be fetched from the hub: {error} "
            "Check the name, the network and your access token, or pass a local directory."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} is not readable JSON: {error}. Fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} must hold a JSON object, got a {type(content).__name__}. Fetch it again.")
    return content
