"""A process that writes to a token store until it is killed."""

from __future__ import annotations

import numpy as np

from jina_vllm_integrations.token_store import TokenStore
from jina_vllm_integrations.types import TokenVectors

MAX_BYTES = 8 * 2**20


def entry(number):
    """Return the key and the vectors of a number, of a few bytes or of many pages."""
    rng = np.random.default_rng(number)
    n_tokens = int(rng.integers(1, 900))
    tokens = TokenVectors(
        vectors=rng.standard_normal((n_tokens, 64), dtype=np.float32),
        token_ids=np.arange(n_tokens),
        image_mask=np.zeros(n_tokens, dtype=bool),
        grid=None,
    )
    return b"%032d" % number, tokens


def write_forever(path, first, acknowledge):
    """Keep one or a few entries after the other, and send a number when it is kept."""
    with TokenStore(path, max_bytes=MAX_BYTES) as store:
        number = first
        while True:
            several = range(number, number + 1 + number % 4)
            store.put_many([entry(each) for each in several])
            for each in several:
                acknowledge.send(each)
            number = several.stop
