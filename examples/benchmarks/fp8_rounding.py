"""Linear layers as fp8 computes them, nearly, where no device multiplies float8: a quantisation for vLLM that rounds.

vLLM's ``quantization="fp8"`` scales a weight matrix as a whole, and what goes into it token by token, so that the
largest value is float8's largest; then it rounds both. So is it done here, and multiplied in float32. A GPU adds up
with fewer digits, which is not imitated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

if TYPE_CHECKING:
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
LEAST_SCALE = 1 / (LARGEST * 512)  # vLLM's


def rounded(values: torch.Tensor, *, by_row: bool) -> torch.Tensor:
    """Round values to float8 and back to float32, with one scale for all or one a row."""
    values = values.float()
    largest = values.abs().amax(-1, keepdim=True) if by_row else values.abs().max()
    scale = (largest / LARGEST).clamp(min=LEAST_SCALE)
    return (values / scale).to(FLOAT8).float() * scale


class RoundedLinearMethod(UnquantizedLinearMethod):
    """Rounds the weights once, and what they are multiplied with each time."""

    def __init__(self, *, weights_by_row: bool) -> None:
        super().__init__()
        self._weights_by_row = weights_by_row

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        """Round the weights."""
        layer.weight = torch.nn.Parameter(rounded(layer.weight, by_row=self._weights_by_row), requires_grad=False)

    def apply(self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply."""
        return linear(rounded(x, by_row=True), layer.weight, None if bias is None else bias.float()).to(x.dtype)


class _Rounding(QuantizationConfig):
    weights_by_row = False

    @classmethod
    def get_supported_act_dtypes(cls) -> list[torch.dtype]:
        return [torch.bfloat16]

    @classmethod
    def get_min_capability(cls) -> int:
        return 0

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Rounding:  # noqa: ARG003 - vLLM's signature
        return cls()

    def get_quant_method(self, layer: torch.nn.Module, prefix: str) -> QuantizeMethodBase | None:  # noqa: ARG002 - vLLM's signature
        return RoundedLinearMethod(weights_by_row=self.weights_by_row) if isinstance(layer, LinearBase) else None


@register_quantization_config("rounded_to_fp8")
class RoundedToFp8(_Rounding):
    """As ``quantization="fp8"``."""

    @classmethod
    def get_name(cls) -> Any:
        """Return its name."""
        return "rounded_to_fp8"


@register_quantization_config("rounded_to_fp8_per_channel")
class RoundedToFp8PerChannel(_Rounding):
    """As ``quantization="fp8_per_channel"``, which scales each row of a weight matrix by itself."""

    weights_by_row = True

    @classmethod
    def get_name(cls) -> Any:
        """Return its name."""
        return "rounded_to_fp8_per_channel"
