"""What is written to a token store, and a process that does until it is killed."""

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


def tokens_of(number):
    """Return vectors that take some 100 KB as float16."""
    return TokenVectors(
        vectors=np.random.default_rng(number).standard_normal((400, 128), dtype=np.float32),
        token_ids=np.arange(400),
        image_mask=np.zeros(400, dtype=bool),
        grid=None,
    )


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
