"""Items whose token vectors are kept, and what keeps them the same."""

from __future__ import annotations

import numpy as np

from jina_vllm_integrations.token_store.keys import pinned
from pictures import picture

FIELDS = ("vectors", "token_ids", "image_mask", "grid", "scales", "row_of_token")


def keys_of(store, encoder, items, role="document"):
    """Return the keys of items."""
    requests = encoder.requests(items, role=role, output="tokens")
    return store.keys(encoder, [pinned(request) for request in requests])


def assert_same(one, other):
    """Compare two records to the last bit."""
    for field in FIELDS:
        a, b = getattr(one, field), getattr(other, field)
        assert type(a) is type(b), field
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field
            np.testing.assert_array_equal(a, b, err_msg=field)
        else:
            assert a == b, field


ITEMS = ["ein Text", picture("red"), "もう一つ", picture("blue", (300, 120))]
