"""The token store: nothing is served for another, nothing acknowledged is lost, nothing damaged is believed."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image, ImageSequence

from jina_vllm_integrations import (
    ImageFormatError,
    ImageInput,
    InProcessEngine,
    InputError,
    JinaEncoder,
    MissingExtraError,
    OptionError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreInUseError,
    TokenStore,
)
from jina_vllm_integrations.images import ImageHandle
from jina_vllm_integrations.scoring import compression
from jina_vllm_integrations.scoring.quantization import dequantize
from jina_vllm_integrations.testing import FakeEngine
from jina_vllm_integrations.token_store.keys import pinned
from store_writer import MAX_BYTES, entry, write_forever

FIELDS = ("vectors", "token_ids", "image_mask", "grid", "scales", "row_of_token")


@pytest.fixture
def encoder():
    """Return an encoder over a fake engine that counts what it computes."""
    with CountingEngine() as engine:
        yield JinaEncoder(engine, task="retrieval")


@pytest.fixture
def store(tmp_path):
    """Return a store that is open for writing."""
    with TokenStore(tmp_path / "store") as store:
        yield store


class CountingEngine(FakeEngine):
    """Counts what it computes."""

    n_computed = 0

    def submit(self, requests):
        """Count and compute."""
        self.n_computed += len(requests)
        return super().submit(requests)


def picture(colour, size=(90, 60)):
    """Return a plain picture."""
    return Image.new("RGB", size, colour)


def encoded(image, kind):
    """Return an image as a file's bytes."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


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


@pytest.mark.parametrize("pool_factor", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_what_is_kept_is_found(tmp_path, encoder, dtype, pool_factor):
    """Texts and images come back bit by bit as they were kept, also after the store was closed."""
    tokens = encoder.embed_tokens(ITEMS, role="document")
    with TokenStore(tmp_path, dtype=dtype, pool_factor=pool_factor) as store:
        keys = keys_of(store, encoder, ITEMS)
        assert store.get_many(keys) == [None] * 4
        kept = store.put_many(list(zip(keys, tokens, strict=True)))
        for one, other in zip(store.get_many(keys), kept, strict=True):
            assert_same(one, other)
    with TokenStore(tmp_path, dtype=dtype, pool_factor=pool_factor, readonly=True) as store:
        found = store.get_many([b"unknown", *keys[::-1], keys[0]])
        assert found[0] is None
        for one, other in zip(found[1:], [*kept[::-1], kept[0]], strict=True):
            assert_same(one, other)
    for computed, small in zip(tokens, kept, strict=True):
        assert small.vectors.dtype == dtype
        assert small.grid == computed.grid
        rows = range(len(computed.vectors)) if small.row_of_token is None else small.row_of_token
        if pool_factor == 1:
            close = dequantize(small.vectors, small.scales)[rows]
            np.testing.assert_allclose(close, computed.vectors, rtol=0, atol=4e-3)
        else:
            assert len(small.vectors) < len(computed.vectors) == len(rows)


def test_vectors_of_float32_are_exact(tmp_path, encoder):
    """With dtype float32 nothing is rounded."""
    (tokens,) = encoder.embed_tokens(["ein Text"], role="document")
    with TokenStore(tmp_path, dtype="float32") as store:
        store.put_many([(b"key", tokens)])
        assert_same(store.get_many([b"key"])[0], tokens)


def test_everything_that_changes_the_vectors_is_in_the_key(tmp_path, encoder):
    """Another text, role, task, model, dtype or pooling is another key; none is found for another."""
    other_task = JinaEncoder(encoder.engine, task="code")
    other_model = JinaEncoder(FakeEngine(hidden_size=32), task="retrieval")
    short = JinaEncoder(FakeEngine(max_tokens=16), task="retrieval", truncate=True)
    with TokenStore(tmp_path / "a") as store:
        keys = {
            "as it is": keys_of(store, encoder, ["a longer text"])[0],
            "another text": keys_of(store, encoder, ["a longer Text"])[0],
            "as a query": keys_of(store, encoder, ["a longer text"], role="query")[0],
            "for code": keys_of(store, other_task, ["a longer text"])[0],
            "another model": keys_of(store, other_model, ["a longer text"])[0],
            "cut": keys_of(store, short, ["a longer text"])[0],
        }
    for name, options in {"int8": {"dtype": "int8"}, "pooled": {"pool_factor": 2}}.items():
        with TokenStore(tmp_path / name, **options) as store:
            keys[name] = keys_of(store, encoder, ["a longer text"])[0]
    assert len(set(keys.values())) == len(keys)


def test_an_image_is_its_pixels(store, encoder, tmp_path):
    """One picture as PNG, BMP, file, data URI and PIL image has one key; one pixel more has another."""
    image = picture("red")
    (tmp_path / "red.png").write_bytes(encoded(image, "PNG"))
    forms = [image, encoded(image, "PNG"), encoded(image, "BMP"), tmp_path / "red.png", encoded(image, "TIFF")]
    assert len(set(keys_of(store, encoder, forms))) == 1
    other = image.copy()
    other.putpixel((3, 4), (254, 0, 0))
    wide = picture("red", (60, 90))  # the same bytes in another shape
    assert len(set(keys_of(store, encoder, [image, other, wide]))) == 3


def test_a_known_file_is_not_decoded_again(store, encoder, monkeypatch, tmp_path):
    """A file's bytes are remembered, in this process and on disk, so a key costs a hash."""
    content = encoded(picture("red"), "PNG")
    keys = keys_of(store, encoder, [content])
    store.put_many([(keys[0], encoder.embed_tokens([content], role="document")[0])])
    store.close()
    (tmp_path / "same.png").write_bytes(content)
    monkeypatch.setattr(ImageHandle, "load", lambda _: pytest.fail("decoded"))
    with TokenStore(tmp_path / "store") as again:
        assert keys_of(again, encoder, [content, tmp_path / "same.png"]) == keys * 2


def test_a_file_that_changes_is_another_image(store, encoder, tmp_path):
    """The content counts, not the name; and what was hashed is what is embedded, whatever happens to the file."""
    path = tmp_path / "page.png"
    path.write_bytes(encoded(picture("red"), "PNG"))
    (red,) = keys_of(store, encoder, [path])
    request = pinned(encoder.requests([path], role="document", output="tokens")[0])
    path.write_bytes(encoded(picture("blue"), "PNG"))
    assert keys_of(store, encoder, [path]) != [red]
    assert store.keys(encoder, [request]) == [red]
    (embedding,) = encoder.compute([request])
    (expected,) = encoder.embed_tokens([picture("red")], role="document")
    np.testing.assert_array_equal(embedding.tokens.vectors, expected.vectors)


def test_an_image_that_its_owner_changes_is_what_it_was(store, encoder):
    """A file's pages come as one object that goes on to the next: each is kept under its own pixels."""
    colours = ("red", "blue", "white", "black", "green", "gray")
    pages = [picture(colour) for colour in colours]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    store.warm(encoder, ImageSequence.Iterator(Image.open(file)))
    expected = encoder.embed_tokens(pages, role="document")
    for found, tokens in zip(store.find(encoder, pages), expected, strict=True):
        assert_same(found, store.as_kept(tokens))


def test_items_are_found(store, encoder):
    """By what they are, without computing; bad ones are named."""
    assert store.find(encoder, ITEMS) == [None] * 4
    store.warm(encoder, ITEMS[:2])
    n_computed = encoder.engine.n_computed
    found = store.find(encoder, [*ITEMS, encoded(ITEMS[1], "PNG")])
    assert [tokens is not None for tokens in found] == [True, True, False, False, True]
    assert store.find(encoder, ITEMS[:1], role="query") == [None]
    assert encoder.engine.n_computed == n_computed
    with pytest.raises(InputError, match="item 1: a text must have content"):
        store.find(encoder, ["a", " "])


def test_an_image_that_cannot_be_decoded_is_named(store, encoder):
    """Its position is in the error, and the others have keys."""
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"), "PNG")[:-900]
    with pytest.raises(ImageFormatError) as caught:
        keys_of(store, encoder, ["a text", cut])
    assert caught.value.index == 1


def test_no_vectors_are_not_kept(store, encoder):
    """A record without rows could never be scored."""
    (tokens,) = encoder.embed_tokens(["one"], role="document")
    with pytest.raises(InputError, match=r"item 1: .* at least one token"):
        store.put_many([(b"one", tokens), (b"none", replace(tokens, vectors=tokens.vectors[:0]))])
    assert len(store) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_not_kept(store, encoder, value):
    """None of the entries is kept, and the error names the one."""
    good, bad = encoder.embed_tokens(["one", "two"], role="document")
    bad.vectors[1, 1] = value
    with pytest.raises(InputError, match="item 1: token vectors must be finite to be kept"):
        store.put_many([(b"good", good), (b"bad", bad)])
    assert store.get_many([b"good", b"bad"]) == [None, None]


# Fingerprints of real engines, which are not started for it.


@pytest.fixture
def copied(checkpoint, tmp_path):
    """Return a copy of the session's checkpoint, which may be changed."""
    return Path(shutil.copytree(checkpoint, tmp_path / "elsewhere" / "copy"))


def test_a_model_is_its_content(checkpoint, copied):
    """A copy elsewhere, written at another time, is the same model."""
    (copied / "README.md").write_text("A copy.")
    assert InProcessEngine(copied).fingerprint == InProcessEngine(checkpoint).fingerprint


@pytest.mark.parametrize("name", ["model.safetensors", "multi_vector/projectors.safetensors", "tokenizer.json"])
def test_one_changed_byte_is_another_model(checkpoint, copied, name):
    """Weights, heads and vocabularies count to the last byte, also in a process that saw the file before."""
    before = InProcessEngine(copied).fingerprint
    content = bytearray((copied / name).read_bytes())
    content[-2] ^= 1
    (copied / name).write_bytes(content)
    try:
        assert InProcessEngine(copied).fingerprint != before
    finally:
        assert InProcessEngine(checkpoint).fingerprint == before


def test_pixel_limits_are_another_model(copied):
    """A checkpoint's own limits, and those of the processor's options."""
    before = InProcessEngine(copied).fingerprint
    assert InProcessEngine(copied, mm_processor_kwargs={"max_pixels": 50176}).fingerprint != before
    config = json.loads((copied / "preprocessor_config.json").read_text())
    config["max_pixels"] = 50176
    (copied / "preprocessor_config.json").write_text(json.dumps(config))
    assert InProcessEngine(copied).fingerprint != before


def test_options_count_where_they_change_vectors(checkpoint):
    """Numbers of another dtype are other vectors; more memory or longer batches are not."""
    plain = InProcessEngine(checkpoint).fingerprint
    same = {"max_num_seqs": 7, "kv_cache_memory_bytes": 2**20, "enforce_eager": True, "max_model_len": 512}
    assert InProcessEngine(checkpoint, **same).fingerprint == plain
    assert InProcessEngine(checkpoint, pooling="client").fingerprint == plain
    others = [
        InProcessEngine(checkpoint, dtype="bfloat16"),
        InProcessEngine(checkpoint, dtype="float16"),
        InProcessEngine(checkpoint, wire_dtype="float16"),
        InProcessEngine(checkpoint, load_format="dummy"),
        InProcessEngine(checkpoint, hf_overrides={"matryoshka_dimensions": [64]}),
    ]
    assert len({plain, *(engine.fingerprint for engine in others)}) == 6


# The limit of its size.


def tokens_of(number):
    """Return vectors that take some 100 KB as float16."""
    rng = np.random.default_rng(number)
    _, tokens = entry(0)
    return type(tokens)(
        vectors=rng.standard_normal((400, 128), dtype=np.float32),
        token_ids=np.arange(400),
        image_mask=np.zeros(400, dtype=bool),
        grid=None,
    )


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
sys.path.insert(0, "tests")
from test_token_store import tokens_of
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
        cwd=Path(__file__).parents[1],
    )
    assert finished.stdout == "went well\n", finished.stderr


# Killed, damaged, and opened twice.


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


# Warming.


def test_warming_computes_what_is_missing(store, encoder):
    """The second time nothing is computed, and repetitions are computed once."""
    warmed = store.warm(encoder, [*ITEMS, ITEMS[0], encoded(ITEMS[1], "PNG")])
    assert (warmed.n_encoded, warmed.n_stored) == (4, 2)
    assert encoder.engine.n_computed == 4
    warmed = store.warm(encoder, iter([*ITEMS, "new"]))
    assert (warmed.n_encoded, warmed.n_stored) == (1, 4)
    assert encoder.engine.n_computed == 5
    expected = encoder.embed_tokens(ITEMS, role="document")
    for found, tokens in zip(store.get_many(keys_of(store, encoder, ITEMS)), expected, strict=True):
        assert_same(found, store.as_kept(tokens))


def test_warming_keeps_what_came_before_a_bad_item(store, encoder):
    """The error names the item in the caller's order, what came before is kept, and the next run goes on there."""
    texts = [f"text {number}" for number in range(100)]
    store.warm(encoder, texts[:50])
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"), "PNG")[:-900]
    for bad in ("  ", cut, ImageInput("missing.png")):
        with pytest.raises(InputError) as caught:
            store.warm(encoder, [*texts, bad, "after", "  "])
        assert caught.value.index == 100
    assert encoder.engine.n_computed >= 100
    assert None not in store.get_many(keys_of(store, encoder, texts))
    warmed = store.warm(encoder, texts)
    assert (warmed.n_encoded, warmed.n_stored) == (0, 100)


def test_warming_keeps_what_came_before_vectors_that_are_not_finite(store, encoder, monkeypatch):
    """Of the lot that is written together as well."""
    compute = FakeEngine._compute

    def spoilt(engine, request):
        embedding = compute(engine, request)
        if len(request.prompt.token_ids) == len("Passage: the spoilt one"):
            embedding.tokens.vectors[0, 0] = np.nan
        return embedding

    monkeypatch.setattr(FakeEngine, "_compute", spoilt)
    texts = [f"text {number}" for number in range(20)]
    with pytest.raises(InputError, match="item 20: token vectors must be finite"):
        store.warm(encoder, [*texts, "the spoilt one", "after"])
    assert None not in store.find(encoder, texts)


def test_warming_passes_on_the_iterables_own_error(store, encoder):
    """It comes after what the iterable gave before it was kept."""

    def items():
        yield from ("one", "two")
        raise ConnectionError("the list broke off")

    with pytest.raises(ConnectionError, match="the list broke off"):
        store.warm(encoder, items())
    assert None not in store.get_many(keys_of(store, encoder, ["one", "two"]))


def test_warming_shows_progress(store, encoder, capsys):
    """A bar counts all items, on request."""
    store.warm(encoder, ["one", "two"])
    assert capsys.readouterr().err == ""
    store.warm(encoder, ["one", "two", "three"], progress=True)
    assert "storing: 100%" in capsys.readouterr().err


def test_warming_takes_several_items(store, encoder):
    """One text is not an iterable of letters."""
    with pytest.raises(InputError, match="items must be an iterable of texts and images, got one str"):
        store.warm(encoder, "a text")


def test_warming_with_vllm(tmp_path, vllm_engine):
    """What is kept of the real engine's vectors is what it computes, rounded."""
    encoder = JinaEncoder(vllm_engine, task="retrieval")
    with TokenStore(tmp_path) as store:
        warmed = store.warm(encoder, ITEMS)
        assert warmed.n_encoded == 4
        expected = encoder.embed_tokens(ITEMS, role="document")
        for found, tokens in zip(store.get_many(keys_of(store, encoder, ITEMS)), expected, strict=True):
            np.testing.assert_allclose(found.vectors, tokens.vectors, rtol=0, atol=1e-3)
            np.testing.assert_array_equal(found.token_ids, tokens.token_ids)
            np.testing.assert_array_equal(found.image_mask, tokens.image_mask)
            assert found.grid == tokens.grid
