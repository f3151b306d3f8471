"""Under which conditions workloads are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.types import Output, Role

ImageFormat = Literal["jpeg", "png"]

# Steady work slows down and speeds up; what is made ahead should last all the same.
_MARGIN = 1.5


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What holds for all workloads of a comparison.

    Attributes:
        seconds: How long a workload is measured.
        items: How many items are measured at least, instead of ``seconds``.
        warmup: How many items come first, twice, and for a stream once more while it fills the engine.
        role: Of the items. Decides the prefix of texts.
        output: What is asked for.
        image_format: How pages are encoded.
        peak_tflops: What the device can do in 10^12 operations a second; ``None`` leaves the paper limit out.

    Raises:
        OptionError: A value that is none of these.
    """

    seconds: float = 20.0
    items: int | None = None
    warmup: int = 16
    role: Role = "document"
    output: Output = "dense"
    image_format: ImageFormat = "jpeg"
    peak_tflops: float | None = None

    def __post_init__(self) -> None:
        check_choice("role", self.role, Role)
        check_choice("output", self.output, Output)
        check_choice("image_format", self.image_format, ImageFormat)
        check_count("warmup", self.warmup)
        if self.items is not None:
            check_count("items", self.items)
        for name in ("seconds", "peak_tflops"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise OptionError(f"{name} must be a positive number, got {value!r}.")

    def are_met(self, n_items: float, seconds: float) -> bool:
        """Return whether enough was measured."""
        return seconds >= self.seconds if self.items is None else n_items >= self.items

    def items_wanted(self, pace: float) -> int:
        """Return how many items a measurement may need at a pace in items a second."""
        return math.ceil(_MARGIN * pace * self.seconds) if self.items is None else self.items
