"""An open store."""

from __future__ import annotations

import pytest

from jina_vllm_integrations import TokenStore


@pytest.fixture
def store(tmp_path):
    """Return a store that is open for writing."""
    with TokenStore(tmp_path / "store") as store:
        yield store
