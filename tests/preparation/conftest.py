"""Base repositories."""

from __future__ import annotations

import json
import shutil

import pytest

from base_repo import write_base_repo


@pytest.fixture(scope="session")
def base_repos(tmp_path_factory):
    """Return a maker of base repositories, each written once."""
    folder = tmp_path_factory.mktemp("base-repos")
    made = {}

    def make(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            made[key] = write_base_repo(folder / f"base-{len(made)}", **options)
        return made[key]

    return make


@pytest.fixture
def repo(base_repos):
    """Return a base repository that a test only reads."""
    return base_repos()


@pytest.fixture
def own_repo(base_repos, tmp_path):
    """Return a copy of a base repository that a test may damage."""
    return shutil.copytree(base_repos(dtype="bfloat16", shards=2), tmp_path / "base")
