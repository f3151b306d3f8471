"""Storing in Qdrant: the ids and payloads of points, and what is one point."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jina_vllm_integrations import ImageInput, ImageLimits, JinaEncoder, TextInput
from jina_vllm_integrations.errors import ImageSizeError, InputError
from jina_vllm_integrations.qdrant import QdrantIndex
from jina_vllm_integrations.testing import FakeEngine
from pictures import encoded
from qdrant_points import QUERY, TEXTS, page, stored


def test_storing_again_changes_nothing(index):
    """The same items have the same ids, whatever file an image comes from, and the points stay what they were."""
    ids = index.upsert([TEXTS[0], page("red")], payloads=[{"n": 1}, {"n": 2}])
    before = stored(index)
    png = encoded(page("red"))
    again = [TextInput(TEXTS[0]), ImageInput(png)]
    assert index.upsert(again, payloads=iter([{"n": 1}, {"n": 2}])) == ids
    assert index.upsert([io.BytesIO(png)], payloads=[{"n": 2}]) == ids[1:]
    assert index.upsert([encoded(page("red"), "BMP")], payloads=[{"n": 2}]) == ids[1:]
    assert set(stored(index)) == set(ids) == set(before)
    for point_id, (payload, vectors) in stored(index).items():
        assert payload == before[point_id][0]
        np.testing.assert_allclose(vectors["dense"], before[point_id][1]["dense"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(vectors["tokens"], before[point_id][1]["tokens"], rtol=0, atol=1e-6)


def test_an_image_is_read_once_where_it_must_be(tmp_path):
    """A URL is fetched once, a pipe is read once, and both are the image that their pixels say; limits hold."""
    (tmp_path / "page.png").write_bytes(encoded(page("red")))
    n_fetched = 0

    class Files(SimpleHTTPRequestHandler):
        def do_GET(self):
            nonlocal n_fetched
            n_fetched += 1
            super().do_GET()

        def log_message(self, *args):
            pass

    limits = ImageLimits(private_hosts=frozenset({"127.0.0.1"}), max_pixels=20_000)
    reader, writer = os.pipe()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=tmp_path)) as files,
        FakeEngine() as engine,
        os.fdopen(reader, "rb") as pipe,
        QdrantIndex(
            JinaEncoder(engine, task="retrieval", image_limits=limits), "pages", path=tmp_path / "index"
        ) as index,
    ):
        thread = threading.Thread(target=files.serve_forever, args=(0.01,))
        thread.start()
        with os.fdopen(writer, "wb") as pipe_in:
            pipe_in.write(encoded(page("red")))
        uri = ImageInput(f"http://127.0.0.1:{files.server_port}/page.png")
        ids = index.upsert([uri, pipe, tmp_path / "page.png", page("red")])
        files.shutdown()
        thread.join()
        with pytest.raises(ImageSizeError, match=r"item 1: .* 20,000|item 1: .* 20000"):
            index.upsert(["a text", page(size=(300, 300))])
        assert index.count() == 1
    assert len(set(ids)) == n_fetched == 1


def test_equal_items_are_one_point(index):
    """Within one call, too, an item that comes again is there once, with the last payload."""
    first, other, again = index.upsert(["a text", "another", "a text"], payloads=[{"n": 1}, {"n": 2}, {"n": 3}])
    assert first == again != other
    assert {point_id: payload for point_id, (payload, _) in stored(index).items()} == {first: {"n": 3}, other: {"n": 2}}


PAGES = ["red", "green", "blue", "white", "black"]


@pytest.mark.parametrize("ids", [None, PAGES])
def test_pages_of_one_object(index, ids, tmp_path):
    """A TIFF's pages are one object that is sought onward; each point has the vectors of its own page."""
    first, *rest = [page(colour) for colour in PAGES]
    first.save(tmp_path / "scan.tiff", save_all=True, append_images=rest)
    with Image.open(tmp_path / "scan.tiff") as scan:
        stored_ids = index.upsert(ImageSequence.Iterator(scan), ids=ids)
    assert [index.search(page(colour), limit=1)[0].id for colour in PAGES] == stored_ids
    if ids is None:
        assert index.upsert([page(colour) for colour in PAGES]) == stored_ids


def test_a_canvas_that_is_painted_again(index):
    """What an image was when it was handed over is what is stored, in either kind of call."""
    canvas = page()

    def painted(colours):
        for colour in colours:
            canvas.paste(colour, (0, 0, *canvas.size))
            yield canvas

    ids = [*index.upsert(painted(PAGES[:3])), *asyncio.run(index.aupsert(painted(PAGES[3:])))]
    assert [index.search(page(colour), limit=1)[0].id for colour in PAGES] == ids


def test_a_file_that_is_overwritten(index, tmp_path):
    """A scanner that writes all its pages to one path has them all."""

    def scanned():
        for colour in PAGES:
            page(colour).save(tmp_path / "scan.png")
            yield tmp_path / "scan.png"

    ids = index.upsert(scanned())
    assert [index.search(page(colour), limit=1)[0].id for colour in PAGES] == ids


def test_ids_of_the_callers(index):
    """Equal items are as many points as they have ids, which storing and deleting find again, in later releases too."""
    names = ["a.pdf#1", "a.pdf#2", "b.pdf#1", "b\udcff.pdf#1"]
    payloads = [{"name": name} for name in names[:-1]] + [{}]
    ids = index.upsert([page()] * 4, payloads=payloads, ids=names)
    assert len(set(ids)) == index.count() == 4
    assert ids[0] == "08dd4e52-079e-5469-b51a-e3285714319d"
    assert {hit.id: hit.payload for hit in index.search(page())} == dict(zip(ids, payloads, strict=True))
    assert asyncio.run(index.aupsert([page("red"), page()], ids=iter(names[:2]))) == ids[:2]
    assert index.upsert(["a text"], ids=ids[2:3]) == index.upsert(["a text"], ids=[ids[2].upper()]) == ids[2:3]
    assert index.count() == 4
    assert index.search(page("red"), limit=1)[0].id == ids[0]
    index.delete([names[0], ids[1], ids[2].upper()])
    assert list(stored(index)) == ids[3:]


def test_a_callers_id_is_no_content(encoder):
    """A name is not taken for a text that says the same."""
    with QdrantIndex(encoder, "pages", path=":memory:") as index:
        assert index.upsert(["a text"], ids=["a text"]) != index.upsert(["a text"])
        assert index.count() == 2


def test_ids_that_do_not_fit(index):
    """An id for each item, a string that is not empty; checked before the item is read."""
    with pytest.raises(InputError, match=r"one id an item, got 1 for 2\. Leave ids out"):
        index.upsert(["a", "b"], ids=["a"])
    with pytest.raises(
        InputError, match=r"item 1: there must be one id an item, and this one has none\. Leave ids out"
    ):
        index.upsert(["a", "b"], ids=iter(["a"]))
    with pytest.raises(InputError, match="there are more ids"):
        index.upsert(iter(["a"]), ids=iter(["a", "b"]))
    for bad in ("", 3, None, b"a"):
        with pytest.raises(
            InputError, match=r"item 0: an id must be a string that is not empty, got .*'report\.pdf#3'"
        ):
            index.upsert([Path("missing.png")], ids=[bad])
        with pytest.raises(InputError, match=r"^an id must be a string that is not empty"):
            index.delete([bad])
    with pytest.raises(InputError, match=r"ids must be an iterable of ids, got one, 'ab'. Write \[id\]"):
        index.upsert(["a", "b"], ids="ab")
    index.delete(["never stored"])


def test_ids_tell_contents_roles_and_tasks_apart(encoder):
    """What would have another vector has another id, and an id is what it was in an earlier release."""
    code = JinaEncoder(encoder.engine, task="code")
    swapped = Image.new("RGB", (84, 112), "white")
    with QdrantIndex(encoder, "pages", path=":memory:") as index, QdrantIndex(code, "pages", path=":memory:") as other:
        ids = [
            *index.upsert(["a text", "a text ", page(), swapped, page("red")]),
            *index.upsert(["a text"], role="query"),
            *other.upsert(["a text"]),
        ]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "268589f7-7179-59ad-bbef-017074f05d1b"


def test_payloads_are_the_callers(index):
    """Nothing is added to a payload, the caller's mapping stays as it is, and an item may go without."""
    payload = {"file": "a.png", "nested": {"pages": [1, 2], "ok": None}, "name": "Grüße 🎈"}
    kept = json.loads(json.dumps(payload))
    index.upsert(["a text"], payloads=[payload])
    (hit,) = index.search("a text")
    assert hit.payload == kept
    hit.payload["nested"]["pages"].append(3)
    assert payload == kept
    assert index.search("a text")[0].payload == kept
    index.upsert(["without"])
    assert {json.dumps(payload) for payload, _ in stored(index).values()} == {json.dumps(kept), "{}"}


def test_payloads_by_id(index):
    """Under the caller's names as under the points' own; in the order of the ids."""
    (point, _) = index.upsert(["a", "b"], payloads=[{"page": 1}, {"page": 2}], ids=["report.pdf#1", "report.pdf#2"])
    assert index.payloads(["report.pdf#2", "nothing", point]) == [{"page": 2}, None, {"page": 1}]
    assert index.payloads([]) == []
    with pytest.raises(InputError, match="ids must be an iterable of ids"):
        index.payloads("report.pdf#1")


def test_deleting(index):
    """Deleted points are not found; ids that are not there do not matter; a deleted item may come back."""
    ids = index.upsert(TEXTS)
    index.delete(ids[:2])
    index.delete(iter(ids[:1]))
    index.delete([])
    assert index.count() == 3
    assert {hit.id for hit in index.search(QUERY)} == set(ids[2:])
    assert index.upsert(TEXTS[:1]) == ids[:1]
    assert index.count() == 4
    with pytest.raises(InputError, match=r"got one, .* Write \[id\]"):
        index.delete(ids[0])


def test_bad_items_are_skipped_by_their_ids(index, caplog):
    """What is bad about the item, its payload, its id or its vectors; the others are stored under their own."""
    items = [TEXTS[0], "  ", Path("missing.png"), TEXTS[1], TEXTS[2], TEXTS[3], InputError("page 7 is damaged.")]
    payloads = [{"n": 0}, {"n": 1}, {"n": 2}, "no mapping", {"n": 4}, {"n": 5}, {"n": 6}]
    ids = ["a", "blank", "gone", "odd", "b", "", "unread"]
    kept = index.upsert(iter(items), payloads=iter(payloads), ids=iter(ids), on_error="skip")
    assert [(each.index, each.name) for each in kept.skipped] == [
        (1, "blank"),
        (2, "gone"),
        (3, "odd"),
        (5, "item 5"),
        (6, "unread"),
    ]
    assert [payload["n"] for payload in index.payloads(kept)] == [0, 4]
    assert sorted(payload["n"] for payload, _ in stored(index).values()) == [0, 4]
    assert caplog.text.count("skipped ") == len(kept.skipped)
    assert "skipped gone: an image path must name a file; 'missing.png'" in caplog.text

    async def arriving():
        for item in items:
            yield item

    again = asyncio.run(index.aupsert(arriving(), payloads=payloads, ids=ids, on_error="skip"))
    assert again == kept
    assert [each.index for each in again.skipped] == [each.index for each in kept.skipped]


def test_skipping_is_no_excuse_for_too_few_ids(index):
    """They would belong to other items, so nobody is skipped for it."""
    with pytest.raises(InputError, match="there must be one id an item, and this one has none"):
        index.upsert(iter(["a", "b"]), ids=iter(["a"]), on_error="skip")
    with pytest.raises(InputError, match="item 1: a text must have content"):
        index.upsert(["a", " "])
