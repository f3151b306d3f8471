"""The life of an index: made, opened again, used by many at once, given what is wrong, closed."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import threading

import pytest
from qdrant_client import AsyncQdrantClient

from jina_vllm_integrations import TextInput
from jina_vllm_integrations.errors import (
    CheckpointError,
    EmptyTextError,
    InputError,
    ItemTypeError,
    MissingExtraError,
    OptionError,
    StoreClosedError,
    StoreInUseError,
)
from jina_vllm_integrations.qdrant import QdrantIndex
from qdrant_points import QUERY, TEXTS, page


def test_nothing(index):
    """No items give no ids, and an empty index finds nothing."""
    assert index.upsert([]) == []
    assert index.upsert(iter(()), payloads=[]) == []
    assert index.search("anything") == []
    assert index.count() == 0


def test_reopening_a_folder(encoder, tmp_path):
    """Another index of the folder finds everything and adds to it."""
    with QdrantIndex(encoder, "pages", path=str(tmp_path)) as index:
        ids = index.upsert(TEXTS, payloads=[{"n": n} for n in range(len(TEXTS))])
        hits = index.search(QUERY)
    with QdrantIndex(encoder, "pages", path=tmp_path) as index:
        assert index.count() == len(TEXTS)
        found = index.search(QUERY)
        assert [(hit.id, hit.payload) for hit in found] == [(hit.id, hit.payload) for hit in hits]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in hits], abs=1e-5)
        assert index.upsert([TEXTS[0], "new"])[0] == ids[0]
        assert index.count() == len(TEXTS) + 1


def test_construction_does_nothing(encoder, tmp_path):
    """No folder, no client and no request before the first use, nor for empty input."""
    with (
        QdrantIndex(encoder, "pages", path=tmp_path / "index") as index,
        QdrantIndex(encoder, "pages", url="http://127.0.0.1:9") as other,
    ):
        assert index.upsert([]) == other.upsert([]) == []
        index.delete([])
    assert not (tmp_path / "index").exists()


def test_streams(index, encoder):
    """Items and payloads may be iterables without a length, which are read no further ahead than pays."""
    n_read = 0

    def texts():
        nonlocal n_read
        for number in range(300):
            n_read += 1
            yield f"text number {number}"

    ahead = []
    upsert, index._collection.upsert = index._collection.upsert, lambda batch: (ahead.append(n_read), upsert(batch))
    ids = index.upsert(texts(), payloads=({"n": number} for number in range(300)))
    assert len(set(ids)) == index.count() == 300
    assert max(read - done for done, read in enumerate(ahead)) <= 2 * encoder.engine.max_in_flight
    assert index.search("text number 299", limit=1)[0].payload == {"n": 299}


def test_asynchronously(make_index, encoder):
    """The asynchronous twins do the same, together, from synchronous and asynchronous iterables."""

    async def texts():
        for text in TEXTS:
            await asyncio.sleep(0)
            yield text

    async def main(index):
        first, second = await asyncio.gather(
            index.aupsert(texts(), payloads=({"text": text} for text in TEXTS)),
            index.aupsert([page("red"), page("blue")]),
        )
        hits = await asyncio.gather(*[index.asearch(text, limit=1) for text in TEXTS])
        assert [hit.payload["text"] for (hit,) in hits] == TEXTS
        assert await index.asearch(page("blue"), limit=1) == index.search(page("blue"), limit=1)
        assert await index.aupsert(iter(())) == []
        with pytest.raises(EmptyTextError, match=r"^item 1: "):
            await index.aupsert(["a text", " "])
        with pytest.raises(EmptyTextError, match=r"^a text"):
            await index.asearch(" ")
        return first + second

    with make_index(encoder) as index:
        ids = asyncio.run(main(index))
        assert index.count() == len(set(ids)) == len(TEXTS) + 2
        assert index.upsert([*TEXTS, page("red"), page("blue")]) == ids


def test_the_event_loop_is_not_blocked(encoder):
    """While Qdrant is slow, other coroutines run."""

    async def main(index):
        release = threading.Event()
        for name in ("upsert", "search"):
            method = getattr(index._collection, name)
            monkey = lambda *args, method=method, **kwargs: (release.wait(10), method(*args, **kwargs))[1]  # noqa: E731
            setattr(index._collection, name, monkey)
        upsert = asyncio.create_task(index.aupsert(TEXTS))
        search = asyncio.create_task(index.asearch(QUERY))
        await asyncio.sleep(0.1)
        assert not upsert.done()
        assert not search.done()
        release.set()
        assert len(await upsert) == len(TEXTS)
        await search

    with QdrantIndex(encoder, "pages", path=":memory:") as index:
        asyncio.run(main(index))


def test_from_many_threads(make_index, encoder):
    """Threads may store and search at once."""
    from concurrent.futures import ThreadPoolExecutor

    with make_index(encoder) as index, ThreadPoolExecutor(8) as threads:
        stored_ids = list(threads.map(lambda n: index.upsert([f"text {n} {m}" for m in range(5)]), range(16)))
        found = list(threads.map(lambda n: index.search(f"text {n} 0", limit=1), range(16)))
        assert index.count() == 80
    assert [hit.id for (hit,) in found] == [ids[0] for ids in stored_ids]


def test_indexes_that_share_a_client(encoder, client):
    """Threads may use several indexes of one embedded client at once, of the same collection and of others."""
    from concurrent.futures import ThreadPoolExecutor

    indexes = [QdrantIndex(encoder, name, client=client) for name in ("pages", "pages", "others")]

    def work(n):
        index = indexes[n % 3]
        ids = index.upsert([f"text {n} {m}" for m in range(5)])
        return ids[0] == index.search(f"text {n} 0", limit=1)[0].id

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(48)))
    assert [index.count() for index in indexes] == [160, 160, 80]


def test_a_bad_item_is_named(index):
    """The error of a bad item is the encoder's, with its position; ``index`` is not set for a query."""
    for bad, error in (
        (" ", EmptyTextError),
        (42, ItemTypeError),
        (TextInput(3), ItemTypeError),
        ("\ud800", InputError),
    ):
        with pytest.raises(error) as caught:
            index.upsert(["a text", bad])
        assert caught.value.index == 1
        with pytest.raises(error) as caught:
            index.search(bad)
        assert caught.value.index is None
    for single in ("a text", b"bytes", io.BytesIO(), 3):
        with pytest.raises(ItemTypeError, match=r"For one item write \[item\]"):
            index.upsert(single)
    with pytest.raises(OptionError, match="role must be one of 'query', 'document', got 'passage'"):
        index.upsert(["a text"], role="passage")
    assert index.count() == 0


def test_payloads_that_do_not_fit(index):
    """A payload for each item, a mapping of what JSON holds; checked before the item is embedded."""
    with pytest.raises(InputError, match="one payload an item, got 1 for 2"):
        index.upsert(["a", "b"], payloads=[{}])
    with pytest.raises(
        InputError, match=r"item 1: there must be one payload an item, and this one has none\. Pass \{\}"
    ):
        index.upsert(["a", "b"], payloads=iter([{}]))
    with pytest.raises(InputError, match=r"item 0: a payload must be a mapping, got 'a'\. Pass \{\}"):
        index.upsert(["a"], payloads={"a": 1})
    with pytest.raises(InputError, match="there are more payloads"):
        index.upsert(iter(["a"]), payloads=iter([{}, {}]))
    with pytest.raises(InputError, match="item 0: a payload must be what JSON can hold"):
        index.upsert(["a"], payloads=[{("a", "key"): 1}])
    assert index.count() == 0


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "ten", None])
@pytest.mark.parametrize("name", ["limit", "prefetch"])
def test_numbers_below_one(encoder, name, number):
    """How many to find and to return are counts."""
    with (
        QdrantIndex(encoder, "pages", path=":memory:") as index,
        pytest.raises(OptionError, match=re.escape(f"{name} must be a whole number from 1, got {number!r}")),
    ):
        index.search(QUERY, **{name: number})


def test_options_that_do_not_exist(encoder):
    """One place, known datatypes, and a server's options only for a server."""
    with pytest.raises(OptionError, match="one of path, url and client, got none"):
        QdrantIndex(encoder, "pages")
    with pytest.raises(OptionError, match="one of path, url and client, got path and url"):
        QdrantIndex(encoder, "pages", path="a", url="http://localhost:6333")
    with pytest.raises(OptionError, match="datatype must be one of 'float32', 'float16', got 'uint8'"):
        QdrantIndex(encoder, "pages", path=":memory:", datatype="uint8")
    with pytest.raises(OptionError, match=r"client must be a qdrant_client.QdrantClient, got AsyncQdrantClient"):
        QdrantIndex(encoder, "pages", client=AsyncQdrantClient(":memory:"))
    with pytest.raises(OptionError, match=r"api_key needs url=\.\.\., got path"):
        QdrantIndex(encoder, "pages", path=":memory:", api_key="key")


def test_a_checkpoint_without_a_multi_vector_head(encoder):
    """An index needs token vectors, and says so when it is made."""
    from dataclasses import replace

    encoder.engine.checkpoint = replace(encoder.engine.checkpoint, token_dimensions=None, token_tasks=())
    with pytest.raises(
        CheckpointError, match=r"no multi-vector head. Make a checkpoint that has one with: jina-vllm prep"
    ):
        QdrantIndex(encoder, "pages", path=":memory:")


# The client drops what it had opened before it found the folder locked.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_folder_that_is_open(encoder, tmp_path):
    """A folder is open in one client, which indexes of several collections may share."""
    with QdrantIndex(encoder, "pages", path=tmp_path) as index, QdrantIndex(encoder, "pages", path=tmp_path) as other:
        index.upsert(TEXTS)
        with pytest.raises(StoreInUseError, match=r"is open in another. Close that one, share it"):
            other.count()
        index.close()
        assert other.count() == len(TEXTS)


def test_closing(encoder, make_index):
    """A closed index says so, twice is fine, and a client of the caller's stays open."""
    index = make_index(encoder)
    index.upsert(TEXTS)
    client = index._collection._opened()
    index.close()
    index.close()
    for use in (index.count, lambda: index.search(QUERY), lambda: index.upsert(TEXTS)):
        with pytest.raises(StoreClosedError, match=r"the index of 'pages' was closed. Make another one"):
            use()
    if make_index(encoder)._collection._place.client is client:
        assert client.count("pages").count == len(TEXTS)


def test_the_extra_is_missing(encoder, monkeypatch):
    """Without qdrant-client an index says what to install."""
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-vllm-integrations\[qdrant\]'") as caught:
        QdrantIndex(encoder, "pages", path=":memory:")
    assert caught.value.extra == "qdrant"


def test_importing_costs_nothing():
    """The module is imported without qdrant-client."""
    script = "import sys, jina_vllm_integrations.qdrant; assert 'qdrant_client' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_progress(encoder, capsys):
    """A bar counts what was stored, if it is asked for."""
    with QdrantIndex(encoder, "pages", path=":memory:") as index:
        index.upsert(TEXTS)
        assert capsys.readouterr().err == ""
        index.upsert(TEXTS, progress=True)
        assert "5/5" in capsys.readouterr().err
        asyncio.run(index.aupsert(iter(TEXTS), progress=True))
        assert "storing: 5item" in capsys.readouterr().err
