"""A store's size: it keeps its limit, and says when the disk is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jina_vllm_integrations import StoreFullError, TokenStore
from kept_vectors import assert_same
from store_writer import MAX_BYTES, entry, tokens_of


def test_the_least_recently_used_give_way(tmp_path):
    """The file never outgrows its limit; what was read stays, in this opening and the next, and the oldest goes."""
    limit = 4 * 2**20
    with TokenStore(tmp_path, max_bytes=limit) as store:
        for number in range(20):
            store.put_many([(b"%d" % number, tokens_of(number))])
        assert store.get_many([b"3"]) != [None]
    with TokenStore(tmp_path, max_bytes=limit) as store:
        for number in range(20, 45):
            store.put_many([(b"%d" % number, tokens_of(number))])
            assert store.get_many([b"3"]) != [None], number
        found = [number for number in range(45) if store.get_many([b"%d" % number]) != [None]]
        assert store.n_bytes <= limit
        n_found = len(store)
    assert len(found) == n_found
    assert found == [3, *range(46 - n_found, 45)]
    assert n_found >= 20
    assert (tmp_path / "data.mdb").stat().st_size <= limit


def test_entries_of_all_sizes_fit_for_ever(tmp_path):
    """Long and short entries come and go a thousand times, and fragments never fill the file."""
    with TokenStore(tmp_path, max_bytes=MAX_BYTES) as store:
        for number in range(1000):
            key, tokens = entry(number)
            kept = store.put_many([(key, tokens)])
            assert_same(store.get_many([key])[0], kept[0])
        assert len(store) > 40
    assert (tmp_path / "data.mdb").stat().st_size <= MAX_BYTES


def test_the_same_key_twice_is_kept_once(store, encoder):
    """The later one counts, and takes no more room."""
    one, other = encoder.embed_tokens(["one", "two"], role="document")
    store.put_many([(b"key", one)])
    n_bytes = store.n_bytes
    (kept,) = store.put_many([(b"key", other)])
    assert_same(store.get_many([b"key"])[0], kept)
    assert len(store) == 1
    assert store.n_bytes == n_bytes


def test_a_smaller_limit_than_before(tmp_path):
    """The file keeps its size, and the entries shrink to the limit with the next one."""
    with TokenStore(tmp_path, max_bytes=8 * 2**20) as store:
        store.put_many([(b"%d" % number, tokens_of(number)) for number in range(40)])
    with TokenStore(tmp_path, max_bytes=4 * 2**20) as store:
        store.put_many([(b"new", tokens_of(99))])
        assert store.get_many([b"new"]) != [None]
        assert store.n_bytes <= 4 * 2**20


def test_an_entry_larger_than_the_store(tmp_path):
    """It is refused, and says which option to raise."""
    with TokenStore(tmp_path, max_bytes=2**20) as store:
        with pytest.raises(
            StoreFullError, match=r"may take a 16th of the store's max_bytes=1,048,576.* Raise max_bytes"
        ):
            store.put_many([(b"key", tokens_of(0))])
        assert len(store) == 0


FULL_DISK = """
import sys
sys.path.insert(0, "tests/support")
from store_writer import tokens_of
from jina_vllm_integrations import StoreFullError, TokenStore

with TokenStore(sys.argv[1]) as store:
    for number in range(100):
        try:
            store.put_many([(b"%d" % number, tokens_of(number))])
        except StoreFullError as error:
            assert "is full. Free space, or open the store with a smaller max_bytes" in str(error), error
            break
    kept = store.get_many([b"%d" % each for each in range(number)])
    assert number > 10 and None not in kept, number
    assert store.get_many([b"%d" % number]) == [None]
with TokenStore(sys.argv[1], max_bytes=2 * 2**20) as store:
    assert store.get_many([b"3"]) != [None]
    store.put_many([(b"new", tokens_of(number))])
    assert store.get_many([b"new"]) != [None]
print("went well")
"""

NEW_ON_A_FULL_DISK = """
import sys
from pathlib import Path
from jina_vllm_integrations import StoreFullError, TokenStore

try:
    Path(sys.argv[1]).with_name("large").write_bytes(bytes(2**23))
except OSError:
    pass
try:
    TokenStore(sys.argv[1])
except StoreFullError:
    print("went well")
"""


@pytest.mark.parametrize("script", [FULL_DISK, NEW_ON_A_FULL_DISK], ids=["while writing", "before"])
def test_a_full_disk(tmp_path, script):
    """What was kept is kept, the error says what to do, and doing it helps."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted in a namespace of its own only, which is not allowed here")
    mounted = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    finished = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted, tmp_path, sys.executable, "-c", script, str(tmp_path / "store")],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert finished.stdout == "went well\n", finished.stderr
