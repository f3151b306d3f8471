"""LangChain's store on disk, by its own suites and by ours."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest
from langchain_tests.integration_tests import BaseStoreAsyncTests, BaseStoreSyncTests

from caches import both
from jina_vllm_integrations import (
    OptionError,
    StoreClosedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreInUseError,
    TokenStore,
)
from jina_vllm_integrations.langchain import JinaVLLMByteStore


class TestByteStore(BaseStoreSyncTests):
    """LangChain's standard tests of a key-value store."""

    @pytest.fixture
    def kv_store(self, tmp_path):
        """Return an empty one."""
        with JinaVLLMByteStore(tmp_path) as store:
            yield store

    @pytest.fixture
    def three_values(self):
        """Return what it keeps."""
        return b"foo", bytes(10_000), b""


@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning")
class TestByteStoreInALoop(BaseStoreAsyncTests):
    """LangChain's standard tests of a key-value store's coroutines."""

    @pytest.fixture
    def kv_store(self, tmp_path):
        """Return an empty one."""
        with JinaVLLMByteStore(tmp_path) as store:
            yield store

    @pytest.fixture
    def three_values(self):
        """Return what it keeps."""
        return b"foo", bytes(10_000), b""


def test_what_is_kept_is_found_in_the_next_run(store, tmp_path):
    """Values and deletions stay, and another process may read."""
    store.mset([("a", b"1"), ("ä/b", b"2"), ("c", b"3")])
    store.mdelete(["c", "none"])
    store.close()
    with JinaVLLMByteStore(tmp_path / "store", readonly=True) as again:
        assert again.mget(["ä/b", "none", "a", "c"]) == [b"2", None, b"1", None]
        assert list(again.yield_keys()) == ["a", "ä/b"]
        for write in (lambda: again.mset([("a", b"")]), lambda: again.mdelete(["a"])):
            with pytest.raises(StoreError, match=r"is open for reading only\. Open it with readonly=False"):
                write()


def test_a_store_that_is_read_only_is_a_cache_that_keeps_nothing(embeddings, engine, store, tmp_path):
    """What it lacks is computed, and rounded like all that it has."""
    writing = embeddings.model_copy(update={"cache": store})
    (kept,) = writing.embed_documents(["a"])
    store.close()
    with JinaVLLMByteStore(tmp_path / "store", readonly=True) as again:
        reading = embeddings.model_copy(update={"cache": again})
        for embed_documents in both("embed_documents"):
            found, computed = embed_documents(reading, ["a", "b"])
            assert found == kept
            assert [computed] == embeddings.embed_documents(["b"])
        assert len(list(again.yield_keys())) == 1


def test_keys_by_prefix(store):
    """All of them, more than are read at once, in order; also while they are deleted."""
    keys = [f"{number:05}" for number in range(10_000)]
    store.mset([(key, b"") for key in keys])
    assert list(store.yield_keys()) == keys
    assert list(store.yield_keys(prefix="07")) == keys[7000:8000]
    assert list(store.yield_keys(prefix="x")) == list(store.yield_keys(prefix="0" * 600)) == []
    for key in store.yield_keys():
        if key.endswith("00"):
            store.mdelete([key])
    assert len(list(store.yield_keys())) == 9900
    longest = "x" * 511
    store.mset([(longest, b"1")])
    assert list(store.yield_keys(prefix="x")) == [longest]


@pytest.mark.parametrize("key", ["", "x" * 512, "ä" * 256, 3, b"bytes"])
def test_what_is_no_key(store, key):
    """It is told before anything is read, written or deleted."""
    store.mset([("a", b"1")])
    for use in (
        lambda: store.mget(["a", key]),
        lambda: store.mset([("a", b"2"), (key, b"2")]),
        lambda: store.mdelete(["a", key]),
    ):
        with pytest.raises(OptionError, match=r"a key must be a str of 1 to 511 bytes in UTF-8, got .*Hash what is"):
            use()
    assert store.mget(["a"]) == [b"1"]


def test_the_least_recently_used_give_way(tmp_path):
    """The file keeps to its limit; a value that is larger than it allows is refused."""
    with JinaVLLMByteStore(tmp_path, max_bytes=2**23) as store:
        store.mset([("kept", b"1")])
        for first in range(0, 2000, 100):
            store.mset([(f"{number}", bytes(4108)) for number in range(first, first + 100)])
            assert store.mget(["kept", f"{first}"]) == [b"1", bytes(4108)]
        assert store.mget(["1"]) == [None]
        with pytest.raises(StoreFullError, match="may take a 16th of the store's max_bytes=8,388,608"):
            store.mset([("large", bytes(2**20))])
    assert (tmp_path / "data.mdb").stat().st_size <= 2**23


@pytest.mark.parametrize("size", [268, 1036])
def test_values_of_all_sizes_fit_for_ever(tmp_path, size):
    """Those that share pages as well: a store that is full takes new ones, keeps what is used, and can be emptied."""
    names = [sha256(b"%d" % number).hexdigest() for number in range(10_000 if size < 1000 else 6_000)]
    with JinaVLLMByteStore(tmp_path, max_bytes=2**23) as store:
        for first in range(0, len(names), 500):
            some = names[first : first + 500]
            store.mset([(name, bytes(44)) for name in some[:100]] + [(name, bytes(size)) for name in some[100:]])
            assert None not in store.mget(some)
            assert None not in store.mget(names[:50])
        assert store.mget(names[500:501]) == [None]
        store.mdelete(list(store.yield_keys()))
        assert list(store.yield_keys()) == []
    assert (tmp_path / "data.mdb").stat().st_size <= 2**23


def test_a_damaged_value_is_missing(tmp_path, caplog):
    """The store has a checksum of its own."""
    with JinaVLLMByteStore(tmp_path) as store:
        store.mset([("one", b"precious" * 100), ("two", b"2")])
    content = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(content.replace(b"preciousprecious", b"preciousprecioux"))
    with JinaVLLMByteStore(tmp_path) as store:
        assert store.mget(["one", "two"]) == [None, b"2"]
        assert "is damaged and counts as missing" in caplog.text
        store.mset([("one", b"1")])
        assert store.mget(["one"]) == [b"1"]


def test_two_kinds_of_stores_are_not_taken_for_each_other(tmp_path):
    """Neither opens the folder of the other, to read or to write."""
    TokenStore(tmp_path / "tokens").close()
    JinaVLLMByteStore(tmp_path / "bytes").close()
    for readonly in (False, True):
        with pytest.raises(StoreFormatError, match=r"another class of this package's .*\. Choose another folder"):
            JinaVLLMByteStore(tmp_path / "tokens", readonly=readonly)
        with pytest.raises(StoreFormatError, match=r"another class of this package's .*\. Choose another folder"):
            TokenStore(tmp_path / "bytes", readonly=readonly)
    TokenStore(tmp_path / "tokens").close()
    JinaVLLMByteStore(tmp_path / "bytes").close()


def test_one_process_writes(store, tmp_path):
    """A second one is refused, and told what to share."""
    for readonly in (False, True):
        with pytest.raises(StoreInUseError, match=r"Share that JinaVLLMByteStore between threads"):
            JinaVLLMByteStore(tmp_path / "store", readonly=readonly)


def test_a_closed_store(store):
    """Closing twice is closing once; use after it says what to do."""
    store.close()
    asyncio.run(store.aclose())
    for use in (lambda: store.mget(["a"]), lambda: store.mset([("a", b"")]), lambda: next(store.yield_keys())):
        with pytest.raises(StoreClosedError, match=r"was closed\. Open it again"):
            use()


@pytest.mark.parametrize("max_bytes", [2**22, 1e9, True])
def test_bad_options(tmp_path, max_bytes):
    """They are told before anything is made."""
    with pytest.raises(OptionError, match="max_bytes must be a whole number from 8,388,608"):
        JinaVLLMByteStore(tmp_path / "store", max_bytes=max_bytes)
    assert not (tmp_path / "store").exists()
