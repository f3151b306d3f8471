"""The paper limit: how many floating-point operations an item needs, by the sizes of the model.

A multiplication and an addition are two operations. Matrix products and attention are counted, causal where the model
is; what is small beside them (norms, activations, rotary positions, heads, adapters) is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from jina_vllm_integrations.errors import CheckpointError
from jina_vllm_integrations.model.files import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jina_vllm_integrations.model.checkpoints import Checkpoint


@dataclass(frozen=True, kw_only=True)
class _Decoder:
    """The language model's sizes, named as in ``config.json``."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int

    def operations(self, n_tokens: int) -> float:
        values = self.hidden_size * self.num_key_value_heads // self.num_attention_heads
        attention = 2 * self.hidden_size * (self.hidden_size + values)
        weights = attention + 3 * self.hidden_size * self.intermediate_size
        # Scores and their sums of values, each over the n (n + 1) / 2 pairs that a causal mask leaves.
        pairs = n_tokens * (n_tokens + 1) / 2
        return self.num_hidden_layers * (2 * n_tokens * weights + 4 * pairs * self.hidden_size)


@dataclass(frozen=True, kw_only=True)
class _VisionEncoder:
    """The vision encoder's sizes, named as in ``config.json``."""

    depth: int
    hidden_size: int
    intermediate_size: int
    out_hidden_size: int
    patch_size: int
    spatial_merge_size: int
    temporal_patch_size: int
    window_size: int
    n_full_attention: int

    def operations(self, grid: tuple[int, int]) -> float:
        rows, columns = grid
        n_cells = rows * columns
        merged = self.spatial_merge_size**2
        n_patches = n_cells * merged
        weights = 4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size
        # An image is one frame, and is repeated to fill a patch in time.
        patch = 3 * self.temporal_patch_size * self.patch_size**2 * self.hidden_size
        linear = 2 * n_patches * (self.depth * weights + patch)
        merger = 2 * n_cells * merged * self.hidden_size * (merged * self.hidden_size + self.out_hidden_size)
        cells_a_side = self.window_size // (self.patch_size * self.spatial_merge_size)
        pairs_in_windows = merged**2 * _squares(rows, cells_a_side) * _squares(columns, cells_a_side)
        n_windowed = self.depth - self.n_full_attention
        pairs = self.n_full_attention * n_patches**2 + n_windowed * pairs_in_windows
        return linear + merger + 4 * pairs * self.hidden_size


@dataclass(frozen=True)
class Geometry:
    """The sizes of a model, and what they cost."""

    _decoder: _Decoder
    _vision: _VisionEncoder

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Self:
        """Read a checkpoint's sizes.

        Raises:
            CheckpointError: It does not state them.
        """
        return cls.of(read_json(checkpoint.path / "config.json"))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Return the sizes that a ``config.json`` states.

        Raises:
            CheckpointError: It does not state them.
        """
        try:
            # Before transformers 5 the language model's values stood at the top level.
            return cls(_decoder(config.get("text_config", config)), _vision_encoder(config["vision_config"]))
        except KeyError as error:
            raise CheckpointError(
                f"the paper limit needs {error}, which config.json lacks. Fetch the checkpoint again."
            ) from error

    def text_operations(self, n_tokens: int) -> float:
        """Return the operations of a text with its prefix."""
        return self._decoder.operations(n_tokens)

    def page_operations(self, n_tokens: int, grid: tuple[int, int]) -> float:
        """Return the operations of a page.

        Args:
            n_tokens: Of the whole prompt, a token for each cell included.
            grid: Rows and columns of cells.
        """
        return self._vision.operations(grid) + self._decoder.operations(n_tokens)


def _decoder(config: Mapping[str, Any]) -> _Decoder:
    return _Decoder(**{name: int(config[name]) for name in _Decoder.__dataclass_fields__})


def _vision_encoder(config: Mapping[str, Any]) -> _VisionEncoder:
    # Left out where it is what transformers takes for granted.
    stated = {"temporal_patch_size": 2, **config, "n_full_attention": len(config["fullatt_block_indexes"])}
    return _VisionEncoder(**{name: int(stated[name]) for name in _VisionEncoder.__dataclass_fields__})


def _squares(length: int, size: int) -> int:
    """Return the sum of the squares of the pieces that a length is cut into, the last of which may be shorter."""
    return length // size * size**2 + (length % size) ** 2
