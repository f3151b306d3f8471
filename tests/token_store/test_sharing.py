"""One store in several processes and threads."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from jina_vllm_integrations import (
    MissingExtraError,
    OptionError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreInUseError,
    TokenStore,
)
from jina_vllm_integrations.scoring import compression
from kept_vectors import assert_same
from store_writer import entry, tokens_of

HOLD_A_SNAPSHOT = """
import sys, lmdb
with lmdb.open(sys.argv[1], readonly=True, map_size=2**40, max_dbs=4) as env, env.begin():
    print("reading", flush=True)
    sys.stdin.read()
"""


def test_a_reader_that_never_ends(tmp_path):
    """Another process holds what was evicted: the error says so, and when it ends there is room."""
    with TokenStore(tmp_path, max_bytes=4 * 2**20) as store:
        store.put_many([(b"%d" % number, tokens_of(number)) for number in range(28)])
        with subprocess.Popen(
            [sys.executable, "-c", HOLD_A_SNAPSHOT, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            reader.stdout.readline()
            with pytest.raises(StoreFullError, match=r"a reader in another process holds them. End it, or raise max"):
                store.put_many([(b"new %d" % number, tokens_of(number)) for number in range(28)])
        (kept,) = store.put_many([(b"newest", tokens_of(99))])
        assert_same(store.get_many([b"newest"])[0], kept)


def use_after_fork(store, sender):
    """Say what a fork's use of the store raises, close it, and live on."""
    with pytest.raises(StoreInUseError) as caught:
        store.get_many([b"key"])
    store.close()
    sender.send(str(caught.value))
    sender.recv()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_hold_the_store(tmp_path):
    """A forked child, such as vLLM's engine, cannot use the store, and does not keep it locked."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    store = TokenStore(tmp_path)
    child = context.Process(target=use_after_fork, args=(store, theirs))
    child.start()
    assert "was opened by the process that this one was forked from" in ours.recv()
    store.put_many([(b"key", tokens_of(0))])
    store.close()
    with TokenStore(tmp_path) as again:
        assert again.get_many([b"key"]) != [None]
    ours.send("end")
    child.join()
    assert child.exitcode == 0


OPEN = "import sys; from jina_vllm_integrations import TokenStore; TokenStore(sys.argv[1], readonly=len(sys.argv) > 2)"


def test_one_process_writes(tmp_path):
    """A second writer is refused, here and elsewhere, until the first one closes."""
    with TokenStore(tmp_path):
        with pytest.raises(StoreInUseError, match="is open for writing already, here or in another process"):
            TokenStore(tmp_path)
        with pytest.raises(StoreInUseError, match=r"is open in this process already. Share that TokenStore"):
            TokenStore(tmp_path, readonly=True)
        writer = subprocess.run([sys.executable, "-c", OPEN, tmp_path], check=False, capture_output=True, text=True)
        assert "StoreInUseError" in writer.stderr
        subprocess.run([sys.executable, "-c", OPEN, tmp_path, "readonly"], check=True)
    TokenStore(tmp_path).close()


READ_WHEN_TOLD = """
import sys
from jina_vllm_integrations import TokenStore
with TokenStore(sys.argv[1], readonly=True) as store:
    for line in sys.stdin:
        print(store.get_many([line.strip().encode()])[0] is not None, flush=True)
"""


def test_readers_see_what_is_written(tmp_path):
    """A process that opened the store before finds what another keeps later, beyond the size that it opened."""
    with TokenStore(tmp_path) as store:
        with subprocess.Popen(
            [sys.executable, "-c", READ_WHEN_TOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:

            def found(key):
                reader.stdin.write(f"{key}\n")
                reader.stdin.flush()
                return reader.stdout.readline() == "True\n"

            assert not found("0")
            for number in range(40):
                store.put_many([(b"%d" % number, tokens_of(number))])
                assert found(number)
            reader.stdin.close()
        assert reader.wait() == 0


def test_reading_what_is_not_there(tmp_path):
    """A reader makes nothing."""
    with pytest.raises(StoreError, match="there is no store to read in"):
        TokenStore(tmp_path / "none", readonly=True)
    assert not (tmp_path / "none").exists()


def test_a_reader_does_not_write(tmp_path, encoder):
    """Keeping is refused and changes nothing."""
    TokenStore(tmp_path).close()
    with TokenStore(tmp_path, readonly=True) as store:
        with pytest.raises(StoreError, match=r"is open for reading only. Open it with readonly=False"):
            store.put_many([(b"key", tokens_of(0))])
        assert len(store) == 0


def test_a_closed_store(store):
    """Closing twice is closing once; use after it says what to do."""
    store.close()
    store.close()
    for use in (lambda: store.get_many([b"key"]), lambda: store.put_many([(b"k", tokens_of(0))]), lambda: len(store)):
        with pytest.raises(StoreClosedError, match=r"was closed. Open it again"):
            use()


def test_many_threads(tmp_path):
    """Threads that read and write at once find what they kept."""

    def work(first):
        for number in range(first, first + 25):
            key, tokens = entry(number)
            (kept,) = store.put_many([(key, tokens)])
            assert_same(store.get_many([key])[0], kept)

    with TokenStore(tmp_path) as store, ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(0, 200, 25)))
        assert len(store) == 200


def test_pooling_without_scipy(tmp_path, monkeypatch):
    """What is not installed is told when the store is opened, not after the first batch was computed."""
    monkeypatch.setattr(compression, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="compression"):
        TokenStore(tmp_path / "store", pool_factor=2)
    TokenStore(tmp_path / "store").close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float64"}, "dtype must be one of 'float32', 'float16', 'int8', got 'float64'"),
        ({"max_bytes": 2**19}, "max_bytes must be a whole number from 1,048,576, got 524288"),
        ({"max_bytes": 1e9}, "max_bytes must be a whole number"),
        ({"pool_factor": 0}, "pool_factor must be a whole number from 1, got 0"),
        ({"pool_factor": True}, "pool_factor must be a whole number from 1, got True"),
    ],
)
def test_bad_options(tmp_path, options, message):
    """They are told before anything is made."""
    with pytest.raises(OptionError, match=message):
        TokenStore(tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()
