"""Stores that were killed, damaged or are somebody else's: nothing wrong is ever served."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import subprocess
import sys
import threading

import lmdb
import pytest

from jina_vllm_integrations import StoreDamagedError, StoreError, StoreFormatError, TokenStore
from kept_vectors import assert_same
from store_writer import MAX_BYTES, entry, tokens_of, write_forever


def test_killed_at_any_moment(tmp_path):
    """After fifty kills in the middle of writing, the store opens, and everything acknowledged lately is intact."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["store_writer"])
    clock = random.Random(0)
    first, n_intact = 0, 0
    for _ in range(50):
        receiver, sender = context.Pipe(duplex=False)
        writer = context.Process(target=write_forever, args=(tmp_path, first, sender))
        writer.start()
        sender.close()
        acknowledged = [receiver.recv() for _ in range(clock.randint(1, 12))]
        threading.Event().wait(clock.random() * 0.02)
        writer.kill()
        writer.join()
        while receiver.poll():
            try:
                acknowledged.append(receiver.recv())
            except EOFError:
                break
        # Entries of at most 120 KB: these cannot have been evicted.
        latest = acknowledged[-20:]
        with TokenStore(tmp_path, max_bytes=MAX_BYTES) as store:
            for number, found in zip(latest, store.get_many([entry(each)[0] for each in latest]), strict=True):
                assert found is not None, number
                assert_same(found, store.as_kept(entry(number)[1]))
                n_intact += 1
        first = acknowledged[-1] + 1
    assert n_intact > 50


def corrupt(path, content):
    """Flip a bit in the middle of some content, wherever the file has it, and return how often that was."""
    data = bytearray(path.read_bytes())
    found = 0
    position = data.find(content)
    while position >= 0:
        data[position + len(content) // 2] ^= 1
        found += 1
        position = data.find(content, position + 1)
    path.write_bytes(data)
    return found


def test_a_damaged_entry_is_dropped_and_reported(tmp_path, encoder, caplog):
    """A flipped bit on disk is noticed; the entry is missing, the others are not, and it can be kept again."""
    keys = [b"one", b"two", b"three"]
    with TokenStore(tmp_path) as store:
        kept = store.put_many([(key, tokens_of(number)) for number, key in enumerate(keys)])
    assert corrupt(tmp_path / "data.mdb", kept[1].vectors.tobytes()) == 1
    with caplog.at_level(logging.WARNING), TokenStore(tmp_path) as store:
        found = store.get_many(keys)
        assert [each is None for each in found] == [False, True, False]
        assert_same(found[2], kept[2])
    assert caplog.messages == [f"the entry {b'two'.hex()} of {tmp_path} is damaged and counts as missing"]
    caplog.clear()
    with TokenStore(tmp_path) as store:
        assert len(store) == 2
        store.put_many([(b"two", tokens_of(1))])
        assert_same(store.get_many([b"two"])[0], kept[1])
    assert not caplog.messages


def test_a_damaged_entry_is_missing_for_readers_too(tmp_path, caplog):
    """A reader cannot drop it, and does not believe it."""
    with TokenStore(tmp_path) as store:
        (kept,) = store.put_many([(b"one", tokens_of(0))])
    corrupt(tmp_path / "data.mdb", kept.vectors.tobytes())
    with TokenStore(tmp_path, readonly=True) as store:
        assert store.get_many([b"one", b"one"]) == [None, None]
    assert len(caplog.messages) == 2


def test_a_file_that_was_cut_is_refused(tmp_path):
    """Reading beyond the end of a mapped file would kill the process."""
    with TokenStore(tmp_path) as store:
        store.put_many([(b"%d" % number, tokens_of(number)) for number in range(20)])
    os.truncate(tmp_path / "data.mdb", 2**20)
    for readonly in (False, True):
        with pytest.raises(StoreDamagedError, match=r"bytes are missing at its end. Delete it: it holds nothing that"):
            TokenStore(tmp_path, readonly=readonly)


READ_ALL = """
import sys
from jina_vllm_integrations import StoreDamagedError, TokenStore

try:
    with TokenStore(sys.argv[1], readonly=len(sys.argv) > 2) as store:
        found = store.get_many([b"%d" % number for number in range(20)])
    print(sum(tokens is not None for tokens in found))
except StoreDamagedError:
    print("refused")
"""


@pytest.mark.parametrize("arguments", [[], ["readonly"]], ids=["writer", "reader"])
@pytest.mark.parametrize("n_pages", [1, 10, 50])
def test_a_file_that_lost_its_last_pages(tmp_path, n_pages, arguments):
    """Reading beyond a mapped file's end would kill the process; it lives, and believes nothing."""
    with TokenStore(tmp_path) as store:
        store.put_many([(b"%d" % number, tokens_of(number)) for number in range(20)])
    os.truncate(tmp_path / "data.mdb", (tmp_path / "data.mdb").stat().st_size - 4096 * n_pages)
    command = [sys.executable, "-c", READ_ALL, tmp_path, *arguments]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    # The very last page is no entry's.
    assert finished.stdout == "refused\n" or int(finished.stdout) < 20 + (n_pages == 1)


def test_another_programs_folder_is_refused(tmp_path):
    """An LMDB environment of something else is not written to, nor is a file taken for a folder."""
    with lmdb.open(str(tmp_path), map_size=2**20) as env, env.begin(write=True) as transaction:
        transaction.put(b"precious", b"value")
    for readonly in (False, True):
        with pytest.raises(StoreFormatError, match="of another program"):
            TokenStore(tmp_path, readonly=readonly)
    with pytest.raises(StoreError, match=r"cannot be a store: File exists. Choose a folder that can be made"):
        TokenStore(tmp_path / "data.mdb")


def test_a_store_that_was_never_finished(tmp_path):
    """A reader that comes before the writer's first transaction is told so, and the writer goes on."""
    lmdb.open(str(tmp_path), map_size=2**20).close()
    with pytest.raises(StoreError, match=r"is empty yet. Open it once with readonly=False"):
        TokenStore(tmp_path, readonly=True)
    with TokenStore(tmp_path) as store:
        store.put_many([(b"key", tokens_of(0))])


def test_a_late_finding_of_damage(store):
    """A reader saw an entry damaged that was written again since: the new one stays. A white-box test of a race."""
    store.put_many([(b"key", tokens_of(0))])
    store._shelf._damaged.add(b"key")
    (kept, _) = store.put_many([(b"other", tokens_of(1)), (b"another", tokens_of(2))])
    assert store.get_many([b"key"]) != [None]
    assert_same(store.get_many([b"other"])[0], kept)


def test_another_file_is_refused(tmp_path):
    """A file of that name which is no store is not overwritten."""
    (tmp_path / "data.mdb").write_bytes(b"precious" * 4096)
    with pytest.raises(StoreDamagedError, match="is no whole store"):
        TokenStore(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == b"precious" * 4096


def test_a_newer_format_is_refused(tmp_path):
    """A store that a later version wrote is neither read nor written."""
    TokenStore(tmp_path).close()
    with (
        lmdb.open(str(tmp_path), map_size=2**20, max_dbs=4) as env,
        env.begin(write=True, db=env.open_db(b"facts")) as transaction,
    ):
        transaction.put(b"format", b"2")
    for readonly in (False, True):
        with pytest.raises(StoreFormatError, match=r"must be of format b'1', .* is of b'2'. Upgrade jina-vllm-int"):
            TokenStore(tmp_path, readonly=readonly)
