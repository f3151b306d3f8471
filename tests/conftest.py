"""One checkpoint and one vLLM for the whole session, and what tests of several wings start from."""

from __future__ import annotations

import gc
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

# vLLM's worker shares a process with its engine, which halves a start; the engine itself stays a process of its own.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
os.environ["HF_HUB_OFFLINE"] = "1"

from engine_options import ENGINE_OPTIONS
from fake_engines import RecordingEngine
from jina_vllm_integrations import InProcessEngine, JinaEncoder, TokenStore
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.preparation import random_checkpoint
from pictures import scans_beside_private, served

# No test depends on speed, and each run tries the same examples.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


STORES = Path(__file__).parent / "stores"


def pytest_collection_modifyitems(items):
    """Mark what takes long: what computes on the demo's checkpoint, and stores that others wrote, but for a slice."""
    for item in items:
        if "demo_vllm" in item.fixturenames:
            item.add_marker("demo")
        if STORES in item.path.parents and item.get_closest_marker("slice") is None:
            item.add_marker("stores")


def pytest_collection_finish():
    """Spare tests that collect garbage what all the imports made: a second each time, and it stays."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """Let the interpreter end as it would: libraries count at its exit what was never collected, and complain."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def checkpoint(request) -> Path:
    """Return a small checkpoint, kept between runs as long as the code that makes it is the same."""
    digest = hashlib.sha256(Path(random_checkpoint.__file__).read_bytes()).hexdigest()[:12]
    folder = request.config.cache.mkdir("jina-vllm")
    return random_checkpoint.write_random_checkpoint(folder / digest)


@pytest.fixture(scope="session")
def vllm_engine(checkpoint):
    """Return the engine that keeps the session's vLLM alive: others of equal settings come and go without a start."""
    with InProcessEngine(checkpoint, **ENGINE_OPTIONS) as engine:
        JinaEncoder(engine, task="retrieval").embed(["start"], role="query")
        yield engine


@pytest.fixture(scope="session")
def client_engine(checkpoint):
    """Return an engine of stock vLLM, whose states this process pools."""
    with InProcessEngine(checkpoint, pooling="client", **ENGINE_OPTIONS) as engine:
        JinaEncoder(engine, task="retrieval").embed(["start"], role="query")
        yield engine


@pytest.fixture(scope="session")
def demo_vllm():
    """Return a vLLM of the demo's checkpoint: engines of equal settings, such as those of examples, share it."""
    with demo_engine() as engine:
        JinaEncoder(engine, task="retrieval").embed(["start"], role="query")
        yield engine


@pytest.fixture
def make_vllm_engine(vllm_engine, checkpoint):
    """Return a maker of engines that share the session's vLLM."""
    return lambda: InProcessEngine(checkpoint, **ENGINE_OPTIONS)


@pytest.fixture
def engine():
    """Return a fake engine that notes what it is asked for."""
    with RecordingEngine() as engine:
        yield engine


@pytest.fixture
def encoder(engine):
    """Return a retrieval encoder over the engine."""
    return JinaEncoder(engine, task="retrieval")


@pytest.fixture
def token_store(tmp_path):
    """Return an empty store of token vectors."""
    with TokenStore(tmp_path / "vectors", max_bytes=2**24) as store:
        yield store


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Return a folder with a red page, beside a folder with a blue one, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return scans_beside_private(tmp_path)


@pytest.fixture
def picture_url():
    """Return the URL of a red picture on this machine."""
    with served() as url:
        yield url
