"""A store that refuses to find more than it has, asked again for as many as it says."""

from __future__ import annotations

import re

from jina_vllm_integrations.errors import JinaVLLMError


def fewer(error: Exception, asked: int) -> list[int]:
    """Return how many a store may be asked for in place of what it refused, the most first.

    Args:
        error: The store's. It is about the number if it names it; then it names what there is as well, as
            scikit-learn's "Expected n_neighbors <= n_samples_fit, but n_neighbors = 50, n_samples_fit = 4" does.
        asked: How many it was asked for.
    """
    if isinstance(error, JinaVLLMError):
        return []
    numbers = {int(digits.replace(",", "")) for digits in re.findall(r"(?<![\w.])\d[\d,]*(?![\w.]\d)", str(error))}
    return sorted((number for number in numbers if 0 < number < asked), reverse=True) if asked in numbers else []
