"""Which token positions of a prompt are its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from jina_vllm_integrations.model.checkpoints import SpecialTokens


def content_span(token_ids: npt.NDArray[np.int64], special: SpecialTokens) -> slice:
    """Return the positions that a dense vector averages.

    A text's content is every token, its prefix included. An image's content runs from
    ``vision_start`` to ``vision_end``, both included, and leaves out the words around it
    (jina-embeddings-v4, ``modeling_jina_embeddings_v4.py``, ``get_single_vector_embeddings``).

    Args:
        token_ids: The prompt after the image placeholder was expanded. *Shape:* ``(n_tokens,)``.
        special: The checkpoint's token ids.
    """
    starts = np.flatnonzero(token_ids == special.vision_start)
    if starts.size == 0:
        return slice(0, len(token_ids))
    ends = np.flatnonzero(token_ids == special.vision_end)
    return slice(int(starts[0]), int(ends[-1]) + 1)


def image_mask(token_ids: npt.NDArray[np.int64], special: SpecialTokens) -> npt.NDArray[np.bool_]:
    """Return which positions are cells of the image. *Shape:* ``(n_tokens,)``."""
    mask: npt.NDArray[np.bool_] = token_ids == special.image_pad
    return mask
