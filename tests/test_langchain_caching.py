"""LangChain's embeddings over a cache: nothing is served for another, computed twice, or believed unchecked."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle
import threading
from hashlib import sha256

import numpy as np
import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.storage import LocalFileStore
from langchain_core.stores import InMemoryByteStore
from langchain_tests.integration_tests import BaseStoreAsyncTests, BaseStoreSyncTests
from PIL import Image
from pydantic import ValidationError

from conftest import ENGINE_OPTIONS
from fake_engines import DyingEngine, RecordingEngine, SilentEngine
from jina_vllm_integrations import (
    EmptyTextError,
    EngineDiedError,
    ImageFormatError,
    ImageNotFoundError,
    InputError,
    JinaEncoder,
    OptionError,
    StoreClosedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreInUseError,
    TokenStore,
)
from jina_vllm_integrations.adapters import dense_cache
from jina_vllm_integrations.images import ImageHandle
from jina_vllm_integrations.langchain import JinaVLLMByteStore, JinaVLLMEmbeddings
from jina_vllm_integrations.testing import FakeEngine

# Float16 has eleven bits; the numbers of a vector are at most 1.
ROUNDED = {"rtol": 0, "atol": 2**-11}


class AskedEngine(RecordingEngine):
    """Notes where it was asked what it is."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked_in = []

    @property
    def fingerprint(self):
        """Note the thread that asks."""
        self.asked_in.append(threading.current_thread())
        return self._fingerprint

    @fingerprint.setter
    def fingerprint(self, fingerprint):
        self._fingerprint = fingerprint


class RecordingStore(InMemoryByteStore):
    """Notes how many keys each call has."""

    def __init__(self):
        super().__init__()
        self.read, self.written = [], []

    def mget(self, keys):
        """Note and read."""
        self.read.append(len(keys))
        return super().mget(keys)

    def mset(self, key_value_pairs):
        """Note and write."""
        self.written.append(len(key_value_pairs))
        super().mset(key_value_pairs)


@pytest.fixture
def engine():
    """Return a fake engine that counts what it computes."""
    with AskedEngine() as engine:
        yield engine


@pytest.fixture
def cache():
    """Return a store in memory that notes its calls."""
    return RecordingStore()


@pytest.fixture
def embeddings(engine, cache):
    """Return embeddings over both."""
    return JinaVLLMEmbeddings(engine=engine, cache=cache)


@pytest.fixture(params=["memory", "files", "ours"])
def any_cache(request, tmp_path):
    """Return each kind of store."""
    match request.param:
        case "memory":
            yield InMemoryByteStore()
        case "files":
            yield LocalFileStore(tmp_path / "files")
        case "ours":
            with JinaVLLMByteStore(tmp_path / "ours") as store:
                yield store


def both(method):
    """Return ways to call a method of embeddings: it, and its twin in a loop of its own."""
    return (
        lambda embeddings, *given, **options: getattr(embeddings, method)(*given, **options),
        lambda embeddings, *given, **options: asyncio.run(getattr(embeddings, f"a{method}")(*given, **options)),
    )


def picture(colour, size=(90, 60)):
    """Return a plain picture."""
    return Image.new("RGB", size, colour)


def encoded(image, kind="PNG"):
    """Return an image as a file's bytes."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


# What is computed, and what is not.


def test_each_store_keeps_all_kinds_of_vectors(engine, any_cache, tmp_path):
    """What was embedded once, by whichever method, is never computed again, and is the same number by number."""
    (tmp_path / "red.png").write_bytes(encoded(picture("red")))
    images = [tmp_path / "red.png", picture("blue")]

    def embed(embeddings):
        return [
            *embeddings.embed_documents(["a", "b"]),
            embeddings.embed_query("a"),
            *embeddings.embed_images(images),
            *embeddings.embed_image(uris=[str(images[0])]),
            embeddings.embed_image(images[1]),
            *embeddings.embed_multimodal(["c", images[0]], input_type="query"),
        ]

    first = embed(JinaVLLMEmbeddings(engine=engine, cache=any_cache))
    assert engine.n_requests == 6
    assert embed(JinaVLLMEmbeddings(engine=engine, cache=any_cache)) == first
    assert engine.n_requests == 6
    np.testing.assert_allclose(first, embed(JinaVLLMEmbeddings(engine=engine)), **ROUNDED)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=0, atol=1e-6)
    assert {type(number) for vector in first for number in vector} == {float}


def test_synchronous_and_asynchronous_share_a_cache(engine, any_cache):
    """Every method finds what its twin kept."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=any_cache)
    mixed = ["ein Text", picture("red"), encoded(picture("blue"))]

    async def coroutines():
        return (
            await embeddings.aembed_documents(["a", "b"]),
            await embeddings.aembed_query("a"),
            await embeddings.aembed_image(mixed[1]),
            await embeddings.aembed_images(mixed[1:]),
            await embeddings.aembed_multimodal(mixed),
        )

    kept = asyncio.run(coroutines())
    assert engine.n_requests == 6
    found = (
        embeddings.embed_documents(["a", "b"]),
        embeddings.embed_query("a"),
        embeddings.embed_image(mixed[1]),
        embeddings.embed_images(mixed[1:]),
        embeddings.embed_multimodal(mixed),
    )
    assert kept == found == asyncio.run(coroutines())
    assert engine.n_requests == 6


def test_a_query_and_a_document_are_apart(embeddings, engine):
    """The same text has two vectors, each the one of its prompt, in whichever order they come."""
    query = embeddings.embed_query("a red circle")
    (document,) = embeddings.embed_documents(["a red circle"])
    assert engine.n_requests == 2
    encoder = JinaEncoder(engine, task="retrieval")
    np.testing.assert_allclose(query, encoder.embed(["a red circle"], role="query")[0], **ROUNDED)
    np.testing.assert_allclose(document, encoder.embed(["a red circle"], role="document")[0], **ROUNDED)
    assert embeddings.embed_multimodal(["a red circle"], "query") == [query] != [document]


def test_what_langchains_own_cache_does_to_a_model_with_two_prompts(engine):
    """`CacheBackedEmbeddings` with a cache of queries serves a query the vector of the document. Ours does not."""
    plain = JinaVLLMEmbeddings(engine=engine)
    theirs = CacheBackedEmbeddings.from_bytes_store(
        plain, InMemoryByteStore(), query_embedding_cache=True, key_encoder="sha256"
    )
    ours = JinaVLLMEmbeddings(engine=engine, cache=InMemoryByteStore())
    for embeddings in (theirs, ours):
        embeddings.embed_documents(["a red circle"])
    assert theirs.embed_query("a red circle") == plain.embed_documents(["a red circle"])[0]
    assert theirs.embed_query("a red circle") != plain.embed_query("a red circle")
    np.testing.assert_allclose(ours.embed_query("a red circle"), plain.embed_query("a red circle"), **ROUNDED)
    # What hides it from stores that look for it, such as Chroma, which then stores images without vectors.
    assert not hasattr(theirs, "embed_image")
    assert hasattr(ours, "embed_image")


def test_nothing_is_served_for_another(engine, cache):
    """Other dimensions, another task and another model find nothing of each other's."""

    def embed(engine, **options):
        return JinaVLLMEmbeddings(engine=engine, cache=cache, **options).embed_documents(["ein Text"])[0]

    with AskedEngine(hidden_size=32) as other_model, AskedEngine() as other_weights:
        other_weights.fingerprint = "others"
        made = [
            embed(engine),
            embed(engine, dimensions=16),
            embed(engine, task="code"),
            embed(engine, task="text-matching"),
            embed(other_model),
            embed(other_weights),
        ]
        assert (engine.n_requests, other_model.n_requests, other_weights.n_requests) == (4, 1, 1)
    assert [len(vector) for vector in made] == [64, 16, 64, 64, 32, 64]
    assert len(cache.store) == 6
    assert embed(engine, dimensions=64) == made[0]  # the full size, said explicitly
    assert engine.n_requests == 4


def test_a_text_is_what_the_model_reads(cache):
    """Texts that are cut to the same tokens are one; a text that is not cut is another."""
    with AskedEngine(max_tokens=32) as engine:
        embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, truncate=True)
        cut = embeddings.embed_documents(["lang " * 20 + "a", "lang " * 20 + "b", "lang"])
        assert cut[0] == cut[1] != cut[2]
        assert engine.n_requests == 2


def test_an_image_is_its_pixels(embeddings, engine, tmp_path):
    """A picture as path, bytes, PIL image and in other formats is one, as a query and as a document."""
    image = picture("red")
    (tmp_path / "red.png").write_bytes(encoded(image))
    vector = embeddings.embed_image(tmp_path / "red.png")
    forms = [tmp_path / "red.png", image, encoded(image), encoded(image, "BMP"), encoded(image, "TIFF")]
    assert embeddings.embed_images(forms) == [vector] * 5
    assert embeddings.embed_multimodal(forms, input_type="query") == [vector] * 5
    assert engine.n_requests == 1
    embeddings.embed_image(picture("red", (60, 90)))  # the same bytes in another shape
    assert engine.n_requests == 2


@pytest.mark.parametrize("embed_image", both("embed_image"))
def test_a_file_that_changes_is_another_image(embeddings, engine, tmp_path, embed_image):
    """The content counts, not the path."""
    path = tmp_path / "page.png"
    path.write_bytes(encoded(picture("red")))
    red = embed_image(embeddings, path)
    path.write_bytes(encoded(picture("blue")))
    blue = embed_image(embeddings, path)
    assert engine.n_requests == 2
    plain = JinaVLLMEmbeddings(engine=engine)
    np.testing.assert_allclose(red, plain.embed_image(picture("red")), **ROUNDED)
    np.testing.assert_allclose(blue, plain.embed_image(picture("blue")), **ROUNDED)


@pytest.mark.parametrize("embed_images", both("embed_images"))
def test_a_known_file_is_not_decoded_again(embeddings, monkeypatch, tmp_path, embed_images):
    """A note of what its bytes show is kept beside the vectors, so that finding it costs a hash."""
    contents = [encoded(picture(colour)) for colour in ("red", "blue")]
    vectors = embed_images(embeddings, contents)
    (tmp_path / "blue.png").write_bytes(contents[1])
    monkeypatch.setattr(ImageHandle, "load", lambda _: pytest.fail("decoded"))
    assert embed_images(embeddings, [tmp_path / "blue.png", *contents]) == [vectors[1], *vectors]


def test_what_is_hashed_is_what_is_embedded(cache, tmp_path):
    """A file that changes while its batch is in work is kept as what it was when it was read."""
    path = tmp_path / "page.png"
    path.write_bytes(encoded(picture("red")))

    class ChangingEngine(FakeEngine):
        def submit(self, requests):
            path.write_bytes(encoded(picture("blue")))
            return super().submit(requests)

    with ChangingEngine() as engine:
        red = JinaVLLMEmbeddings(engine=engine, cache=cache).embed_image(path)
        plain = JinaVLLMEmbeddings(engine=engine)
        np.testing.assert_allclose(red, plain.embed_image(picture("red")), **ROUNDED)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 1024])
@pytest.mark.parametrize("embed_documents", both("embed_documents"))
def test_equal_items_are_computed_once(engine, cache, batch_size, embed_documents):
    """Within a batch and across batches, and each has its vector at its place."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=batch_size)
    texts = ["a", "b", "a", "c", "c", "b", "a"]
    vectors = embed_documents(embeddings, texts)
    assert engine.n_requests == 3
    expected = JinaVLLMEmbeddings(engine=engine).embed_documents(texts)
    np.testing.assert_allclose(vectors, expected, **ROUNDED)


def test_the_store_is_asked_once_a_batch(engine, cache):
    """One read and one write for texts, a read more for the notes of encoded images, and no write without news."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=3)
    embeddings.embed_documents(["a", "b", "a", "c", "d"])
    assert (cache.read, cache.written) == ([2, 2], [2, 2])
    embeddings.embed_documents(["a", "b", "a", "c", "e"])
    assert (cache.read[2:], cache.written[2:]) == ([2, 2], [1])
    embeddings.embed_images([encoded(picture("red")), encoded(picture("red"), "BMP"), picture("blue")])
    assert (cache.read[4:], cache.written[3:]) == ([2, 2], [4])


@pytest.mark.parametrize("embed_multimodal", both("embed_multimodal"))
def test_large_images_take_turns(engine, cache, monkeypatch, embed_multimodal):
    """Of a batch only as many images are read at once as memory allows, and nothing else changes. A white-box test."""
    items = [picture("red"), "a", encoded(picture("blue")), "b", picture("green"), picture("red"), "a"]
    expected = JinaVLLMEmbeddings(engine=engine).embed_multimodal(items)
    monkeypatch.setattr(dense_cache, "_MOST_PIXELS", 90 * 60)
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache)
    np.testing.assert_allclose(embed_multimodal(embeddings, items), expected, **ROUNDED)
    assert cache.written == [2, 3, 1]
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900]
    with pytest.raises(ImageFormatError) as caught:
        embed_multimodal(embeddings, [*items, cut])
    assert caught.value.index == 7


def test_many_images_keep_their_order(embeddings, engine, tmp_path):
    """They are read and decoded in several threads."""
    pages = []
    for number in range(40):
        pages.append(tmp_path / f"{number}.png")
        pages[-1].write_bytes(encoded(picture((6 * number, 255 - 6 * number, 100), (90, 60 + number))))
    expected = JinaVLLMEmbeddings(engine=engine).embed_images(pages)
    np.testing.assert_allclose(embeddings.embed_images(pages), expected, **ROUNDED)
    pages[33].unlink()
    with pytest.raises(ImageNotFoundError) as caught:
        embeddings.embed_images(pages)
    assert caught.value.index == 33


def test_nothing_starts_nothing(cache):
    """An empty list asks neither engine nor store."""
    embeddings = JinaVLLMEmbeddings(model="no such model", cache=cache)
    assert embeddings.embed_documents([]) == asyncio.run(embeddings.aembed_images([])) == []
    assert cache.read == []


def test_a_vector_takes_two_bytes_a_dimension(tmp_path):
    """As files, beside twelve bytes of header; in our store's pages a vector of 2048 dimensions takes some more."""
    texts = [f"text {number}" for number in range(200)]
    with FakeEngine(hidden_size=2048) as engine, JinaVLLMByteStore(tmp_path / "ours") as ours:
        JinaVLLMEmbeddings(engine=engine, cache=LocalFileStore(tmp_path / "files")).embed_documents(texts)
        JinaVLLMEmbeddings(engine=engine, cache=ours).embed_documents(texts)
    sizes = {path.stat().st_size for path in (tmp_path / "files").iterdir()}
    assert sizes == {2 * 2048 + 12}
    assert (tmp_path / "ours" / "data.mdb").stat().st_size < 200 * 10_000


def test_progress_counts_what_was_found(engine, cache, capsys):
    """The bar gets to the end, whoever has the vectors."""
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, show_progress_bar=True)
    for embed_documents in both("embed_documents"):
        embed_documents(embeddings, ["a", "b", "a"])
        assert "3/3" in capsys.readouterr().err


# What goes wrong.


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record[:-1] + bytes([record[-1] ^ 1]),
        lambda record: record[:20],
        lambda record: record[:6],
        lambda record: b"",
        lambda record: json.dumps([0.5] * 64).encode(),
        lambda record: "text",
    ],
    ids=["a bit", "cut", "header", "empty", "another program's", "no bytes"],
)
@pytest.mark.parametrize("embed_multimodal", both("embed_multimodal"))
def test_what_is_damaged_is_computed_again(embeddings, engine, cache, caplog, damage, embed_multimodal):
    """It is logged, counts as missing, and is overwritten; vectors and notes of images alike."""
    items = ["a", encoded(picture("red"))]
    vectors = embed_multimodal(embeddings, items)
    kept = dict(cache.store)
    cache.store = {key: damage(record) for key, record in kept.items()}
    assert embed_multimodal(embeddings, items) == vectors
    assert engine.n_requests == 4
    assert cache.store == kept
    assert len(caplog.messages) == 3
    assert all("is damaged or another program's, and counts as missing" in message for message in caplog.messages)
    assert {message.split()[3] for message in caplog.messages} == set(kept)


def test_a_whole_entry_in_anothers_place_is_not_believed(embeddings, engine, cache, caplog):
    """The checksum is of the key as well."""
    first, second = embeddings.embed_documents(["a", "b"])
    one, other = cache.store
    cache.store[one], cache.store[other] = cache.store[other], cache.store[one]
    assert embeddings.embed_documents(["a", "b"]) == [first, second]
    assert engine.n_requests == 4
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("embed_documents", both("embed_documents"))
def test_a_crash_keeps_the_finished_batches(engine, cache, embed_documents):
    """What is called again goes on where it was."""
    texts = [f"text {number}" for number in range(7)]
    with DyingEngine(3) as dying, pytest.raises(EngineDiedError) as caught:
        embed_documents(JinaVLLMEmbeddings(engine=dying, cache=cache, batch_size=2), texts)
    assert caught.value.__notes__[1:] == [
        "of the items that were not in the cache",
        "in the batch that begins with item 2",
    ]
    assert len(cache.store) == 2
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=2)
    assert len(embed_documents(embeddings, texts)) == 7
    assert engine.n_requests == 5


@pytest.mark.parametrize("embed_multimodal", both("embed_multimodal"))
def test_a_bad_item_is_named_by_its_position_in_all(engine, cache, embed_multimodal):
    """Whichever step finds it, and whatever of its batch was in the cache. What was in the batches before is kept."""
    cut = encoded(Image.effect_noise((90, 60), 50).convert("RGB"))[:-900]
    embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache, batch_size=4)
    embed_multimodal(embeddings, ["e", "f"])
    for bad, error in [(" ", EmptyTextError), (cut, ImageFormatError), (b"no image", ImageFormatError)]:
        with pytest.raises(error) as caught:
            embed_multimodal(embeddings, ["a", "b", "c", "d", "e", "f", bad])
        assert caught.value.index == 6
        assert engine.n_requests == 6


@pytest.mark.parametrize("embed_documents", both("embed_documents"))
def test_vectors_that_are_not_finite_are_not_kept(cache, monkeypatch, embed_documents):
    """The error names the item by its position, found ones counted."""
    compute = FakeEngine._compute

    def spoilt(engine, request):
        embedding = compute(engine, request)
        if len(request.prompt.token_ids) == len("Passage: the spoilt one"):
            embedding.dense[3] = np.nan
        return embedding

    monkeypatch.setattr(FakeEngine, "_compute", spoilt)
    with FakeEngine() as engine:
        embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache)
        embed_documents(embeddings, ["a"])
        with pytest.raises(InputError, match=r"item 2: a vector must be finite to be kept.*another dtype"):
            embed_documents(embeddings, ["a", "a", "the spoilt one"])
    assert len(cache.store) == 1


@pytest.mark.parametrize("embed_query", both("embed_query"))
def test_what_was_given_alone_has_no_index(embeddings, embed_query):
    """A query's error is about the query."""
    with pytest.raises(EmptyTextError) as caught:
        embed_query(embeddings, " ")
    assert caught.value.index is None


@pytest.mark.parametrize("method", ["mget", "mset"])
@pytest.mark.parametrize("embed_query", both("embed_query"))
def test_the_stores_own_errors_are_raised(engine, method, embed_query):
    """A store that cannot be reached is not passed over."""

    class FailingStore(RecordingStore):
        def fail(self, _):
            raise ConnectionError("no such host")

    setattr(FailingStore, method, FailingStore.fail)
    with pytest.raises(ConnectionError, match="no such host"):
        embed_query(JinaVLLMEmbeddings(engine=engine, cache=FailingStore()), "a")


def test_cancelling_stops_the_work(cache):
    """What waits for the engine ends, and so does the engine's work."""

    async def cancel(embeddings, engine):
        task = asyncio.create_task(embeddings.aembed_documents(["a", "b"]))
        await asyncio.to_thread(engine.asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with SilentEngine() as engine:
        asyncio.run(cancel(JinaVLLMEmbeddings(engine=engine, cache=cache), engine))
        assert all(answer.cancelled() for answer in engine.answers)
    assert cache.store == {}


def test_the_event_loop_hashes_and_decodes_nothing(embeddings, engine, monkeypatch):
    """Neither the model's files nor images are read on the loop's thread."""
    load = ImageHandle.load
    decoded_in = []

    def watched(handle):
        decoded_in.append(threading.current_thread())
        return load(handle)

    monkeypatch.setattr(ImageHandle, "load", watched)
    asyncio.run(embeddings.aembed_multimodal(["a", encoded(picture("red")), picture("blue")]))
    assert engine.asked_in
    assert decoded_in
    assert threading.main_thread() not in {*engine.asked_in, *decoded_in}


# The setting.


def test_nothing_shows_the_cache(embeddings, cache):
    """It is neither printed nor serialised, copies share it, and it is not pickled."""
    assert "cache" not in repr(embeddings)
    assert "cache" not in embeddings.model_dump()
    for other in (copy.deepcopy(embeddings), embeddings.model_copy(update={"dimensions": 16}, deep=True)):
        assert other.cache is cache
    with pytest.raises(OptionError, match=r"got cache\. Pass model= .*, and open a store or cache where it is used"):
        pickle.dumps(JinaVLLMEmbeddings(model="somewhere", cache=cache))


@pytest.mark.parametrize("cache", [{}, "folder", CacheBackedEmbeddings])
def test_what_is_no_store_is_told_when_one_is_made(engine, cache):
    """It does not wait for the first text."""
    with pytest.raises(ValidationError, match=r"cache\n.*BaseStore"):
        JinaVLLMEmbeddings(engine=engine, cache=cache)


# On the real engine.


def test_vllms_vectors_are_kept(make_vllm_engine, checkpoint, tmp_path):
    """Texts and pages of the real engine come back, rounded, without a vLLM, and another dtype finds none of them."""
    items = ["ein Text", picture("red"), encoded(picture("blue"))]
    with make_vllm_engine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        documents, query = encoder.embed(items, role="document"), encoder.embed(items[:1], role="query")[0]
    with JinaVLLMByteStore(tmp_path) as cache:
        with make_vllm_engine() as engine:
            embeddings = JinaVLLMEmbeddings(engine=engine, cache=cache)
            kept = [*embeddings.embed_multimodal(items), embeddings.embed_query("ein Text")]
        np.testing.assert_allclose(kept, [*documents, query], **ROUNDED)
        with JinaVLLMEmbeddings(model=checkpoint, engine_options=ENGINE_OPTIONS, cache=cache) as later:
            assert [*later.embed_multimodal(items), asyncio.run(later.aembed_query("ein Text"))] == kept
            assert later.encoder().engine._runtime is None
        n_entries = len(list(cache.yield_keys()))
        with JinaVLLMEmbeddings(
            model=checkpoint, engine_options={**ENGINE_OPTIONS, "wire_dtype": "float16"}, cache=cache
        ) as other:
            other.embed_query("ein Text")
        assert len(list(cache.yield_keys())) == n_entries + 1


# LangChain's store on disk.


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


@pytest.fixture
def store(tmp_path):
    """Return a store that is open for writing."""
    with JinaVLLMByteStore(tmp_path / "store") as store:
        yield store


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
