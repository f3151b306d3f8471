"""The Qdrant index, on the embedded Qdrant, and on a server that speaks its REST API for the embedded one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from jina_vllm_integrations import ImageInput, ImageLimits, JinaEncoder, TextInput
from jina_vllm_integrations.errors import (
    CheckpointError,
    EmptyTextError,
    ImageSizeError,
    InputError,
    ItemTypeError,
    MissingExtraError,
    OptionError,
    StoreClosedError,
    StoreFormatError,
    StoreInUseError,
)
from jina_vllm_integrations.qdrant import QdrantIndex, points
from jina_vllm_integrations.scoring import score
from jina_vllm_integrations.testing import FakeEngine
from pictures import encoded

TEXTS = [
    "a red circle on white paper",
    "ein blaues Quadrat neben einem Kreis",
    "the invoice is due in March",
    "a red square",
    "nothing of this kind",
]
QUERY = "where is the red circle"
BYTES_OF_SERVER = 32 * 2**20


@pytest.fixture
def encoder():
    """Return an encoder over a fake engine."""
    with FakeEngine() as engine:
        yield JinaEncoder(engine, task="retrieval")


class RestServer(ThreadingHTTPServer):
    """Stands for a Qdrant server: its REST API, as far as an index needs it, over an embedded Qdrant."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RestHandler)
        self.qdrant = QdrantClient(":memory:")
        self.turns = threading.Lock()
        self.requests = []

    @property
    def url(self):
        """Return where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self, path):
        """Return the sizes and contents of the requests to a path of the collection ``pages``."""
        return [body for asked, body in self.requests if asked == f"/collections/pages{path}"]

    def answer(self, method, path, body):
        """Do what a request asks for, and return its result."""
        match method, *path.strip("/").split("/"):
            case "GET", "collections", name, "exists":
                result = models.CollectionExistence(exists=self.qdrant.collection_exists(name))
            case "GET", "collections", name:
                result = self.qdrant.get_collection(name)
            case "PUT", "collections", name:
                return self.qdrant.create_collection(name, models.CreateCollection(**body).vectors)
            case "PUT", "collections", name, "points":
                result = self.qdrant.upsert(name, models.PointsList(**body).points)
            case "POST", "collections", name, "points", "query":
                asked = models.QueryRequest(**body)
                result = self.qdrant.query_points(
                    name, asked.query, using=asked.using, prefetch=asked.prefetch, limit=asked.limit
                )
            case "POST", "collections", name, "points", "delete":
                result = self.qdrant.delete(name, models.PointIdsList(**body))
            case "POST", "collections", name, "points":
                records = self.qdrant.retrieve(name, models.PointRequest(**body).ids)
                return [json.loads(record.model_dump_json(exclude_none=True)) for record in records]
            case "POST", "collections", name, "points", "scroll":
                result = models.ScrollResult(points=self.qdrant.scroll(name, limit=1000, with_vectors=True)[0])
            case "POST", "collections", name, "points", "count":
                result = self.qdrant.count(name)
        return json.loads(result.model_dump_json(exclude_none=True))


class RestHandler(BaseHTTPRequestHandler):
    """Reads a request's JSON and answers with JSON."""

    def do_GET(self):
        """Answer any request."""
        path, body = self.path.partition("?")[0], self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/":
            reply = {"title": "qdrant", "version": version("qdrant-client")}
        else:
            with self.server.turns:
                self.server.requests.append((path, body))
                reply = {"result": self.server.answer(self.command, path, json.loads(body or "null")), "time": 0.0}
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server():
    """Return a running server."""
    with RestServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    server.qdrant.close()


@pytest.fixture
def client():
    """Return a client of the caller's."""
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture(params=["memory", "folder", "server", "client"])
def make_index(request, tmp_path):
    """Return a maker of indexes that reach one Qdrant of each kind."""
    if request.param == "server":
        # The version check would run in a thread of its own, past the end of a test.
        place = {"url": request.getfixturevalue("server").url, "check_compatibility": False}
    elif request.param == "client":
        place = {"client": request.getfixturevalue("client")}
    else:
        place = {"path": ":memory:" if request.param == "memory" else tmp_path / "index"}
    return lambda encoder, **options: QdrantIndex(encoder, "pages", **place, **options)


@pytest.fixture
def index(make_index, encoder):
    """Return an empty index."""
    with make_index(encoder) as index:
        yield index


def page(colour="white", size=(112, 84)):
    """Return an image of one colour."""
    return Image.new("RGB", size, colour)


def stored(index):
    """Return everything that is in an index, by id."""
    found = index._collection._opened().scroll("pages", limit=1000, with_vectors=True)[0]
    return {record.id: (record.payload, record.vector) for record in found}


def test_a_text_is_found(index):
    """Texts that share words with the query come first, with the payload that they were given."""
    ids = index.upsert(TEXTS, payloads=[{"text": text} for text in TEXTS])
    hits = index.search(QUERY, limit=3)
    assert (hits[0].id, hits[0].payload) == (ids[0], {"text": TEXTS[0]})
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(hits) == 3
    assert index.count() == len(TEXTS)


def test_an_image_is_found_by_an_image(index):
    """Pictures are items and queries like texts."""
    ids = index.upsert([page("red"), "a text", page("blue")])
    assert index.search(page("blue", (224, 168)), limit=1)[0].id == ids[2]


def test_scores_are_max_sim(index, encoder):
    """Qdrant's scores are those of `scoring.score` on the same vectors, negative ones too, and so is the order."""
    items = [*TEXTS, page("red"), page("green")]
    ids = index.upsert(items)
    (query,) = encoder.embed_tokens([QUERY], role="query")
    documents = encoder.embed_tokens(items, role="document")
    expected = dict(zip(ids, score(query.vectors, [tokens.vectors for tokens in documents]), strict=True))
    hits = index.search(QUERY)
    assert {hit.id for hit in hits} == set(ids)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], [expected[hit.id] for hit in hits], rtol=0, atol=1e-4)


def test_scores_that_compare_across_queries(index, encoder):
    """The mean over the query's tokens, in the same order."""
    index.upsert(["ein Text", "noch ein Text", "the third"])
    (asked,) = encoder.embed_tokens(["ein Text"], role="query")
    sums, means = index.search("ein Text"), index.search("ein Text", normalize="mean")
    assert [hit.id for hit in means] == [hit.id for hit in sums]
    assert [hit.score * len(asked.vectors) for hit in means] == pytest.approx([hit.score for hit in sums])
    with pytest.raises(OptionError, match="normalize must be one of 'sum', 'mean'"):
        index.search("ein Text", normalize="max")


def test_dense_vectors_choose_what_is_ranked(index, encoder):
    """Only the nearest by their dense vectors are ranked; ``limit`` widens that."""
    ids = index.upsert(TEXTS)
    dense = encoder.embed(TEXTS, role="document") @ encoder.embed([QUERY], role="query")[0]
    nearest = [ids[row] for row in np.argsort(-dense)]
    assert {hit.id for hit in index.search(QUERY, limit=2, prefetch=2)} == set(nearest[:2])
    assert [hit.id for hit in index.search(QUERY, limit=1, prefetch=1)] == nearest[:1]
    assert {hit.id for hit in index.search(QUERY, limit=4, prefetch=1)} == set(nearest[:4])
    assert index.search(QUERY, exact=True) == index.search(QUERY)


def test_real_vectors(vllm_engine, tmp_path):
    """With vLLM's vectors, too, scores are those of `scoring.score`, also after the folder was reopened."""
    encoder = JinaEncoder(vllm_engine, task="retrieval", dimensions=vllm_engine.checkpoint.matryoshka_dimensions[0])
    items = [*TEXTS, page("red"), Image.effect_noise((150, 120), 60)]
    with QdrantIndex(encoder, "pages", path=tmp_path) as index:
        ids = index.upsert(items)
    (query,) = encoder.embed_tokens([QUERY], role="query")
    documents = encoder.embed_tokens(items, role="document")
    expected = dict(zip(ids, score(query.vectors, [tokens.vectors for tokens in documents]), strict=True))
    with QdrantIndex(encoder, "pages", path=tmp_path) as index:
        scores = {hit.id: hit.score for hit in index.search(QUERY)}
    assert scores == pytest.approx(expected, abs=1e-4)


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


def test_filters(index):
    """A filter applies before points are counted, so that as many are found as there are."""
    index.upsert(TEXTS, payloads=[{"n": n, "even": n % 2 == 0} for n in range(len(TEXTS))])
    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    for prefetch in (1, 100):
        hits = index.search(QUERY, limit=3, prefetch=prefetch, query_filter=even)
        assert {hit.payload["n"] for hit in hits} == {0, 2, 4}
    either = models.Filter(
        should=[models.FieldCondition(key="n", match=models.MatchValue(value=value)) for value in (1, 3)]
    )
    assert {hit.payload["n"] for hit in index.search(QUERY, query_filter=either)} == {1, 3}
    nothing = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gt=99))])
    assert index.search(QUERY, query_filter=nothing) == []


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


def test_requests_are_sized_by_floats(server, encoder, monkeypatch):
    """A request has as many points as fit its bytes, long items few, short ones many, and a large payload counts."""
    monkeypatch.setattr(points, "MAX_REQUEST_BYTES", 400_000)
    long, short = [f"{n} " + "long " * 60 for n in range(6)], [f"{n}" for n in range(60)]
    with QdrantIndex(encoder, "pages", url=server.url, check_compatibility=False) as index:
        index.upsert([*long, *short], payloads=[{}] * 65 + [{"text": "ü" * 60_000}])
        assert index.count() == 66
    bodies = server.bodies("/points")
    assert all(len(body) <= 400_000 for body in bodies)
    n_points = [len(json.loads(body)["points"]) for body in bodies]
    assert sum(n_points) == 66
    assert n_points[0] == 1
    assert max(n_points) > 10


def test_the_largest_point_fits_a_request():
    """With numbers of the most digits, a point of as many floats as are allowed stays under a server's 32 MiB."""
    tokens = np.full((8191, 128), -1.2345678e-05, dtype=np.float32)
    struct = models.PointStruct(
        id="0" * 32, vector={"dense": tokens[:16].ravel().tolist(), "tokens": tokens.tolist()}, payload={}
    )
    n_bytes = len(models.PointsList(points=[struct]).model_dump_json())
    bound = (tokens.size + 2048) * points._BYTES_PER_FLOAT + points._BYTES_PER_POINT
    assert 0.8 * bound < n_bytes <= bound < points.MAX_REQUEST_BYTES < BYTES_OF_SERVER


def test_more_floats_than_a_server_takes():
    """An item with as many is refused before it is sent, embedded too, and named; one with a vector less is stored."""
    letters = np.array(list("abcdefgh "))
    rng = np.random.default_rng(0)

    def text(n_tokens):
        return "".join(rng.choice(letters, n_tokens - len("Passage: ") - 1)) + "."

    with FakeEngine(hidden_size=16, max_tokens=40_000) as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        limit = points.MAX_FLOATS // engine.checkpoint.token_dimensions
        with QdrantIndex(encoder, "pages", path=":memory:") as index:
            with pytest.raises(
                InputError, match=r"item 1: .* fewer than 1,048,576 floats, 32,767 token .* 32,768\."
            ) as e:
                index.upsert(["short", text(limit), "never read"])
            assert e.value.index == 1
            assert index.count() == 0
            assert index.search("short") == []
            with pytest.raises(InputError, match=r"^an item in Qdrant"):
                index.search(text(limit + len("Passage") - len("Query")))
            index.upsert([text(limit - 1)])
            assert index.count() == 1


@pytest.mark.parametrize("make_index", ["folder", "server", "client"], indirect=True)
def test_a_collection_of_other_vectors(make_index, encoder, server):
    """A collection whose vectors have other sizes is refused, and left as it is."""
    with make_index(encoder) as index:
        index.upsert(TEXTS)
    smaller = JinaEncoder(encoder.engine, task="retrieval", dimensions=16)
    many = (f"text {n}" for n in range(1000))
    with make_index(smaller) as index:
        for use in (index.count, lambda: index.search(QUERY), lambda: index.upsert(many)):
            with pytest.raises(
                StoreFormatError,
                match=r"'pages' must have the vectors dense \(16 Cosine\), tokens \(32 Dot max_sim\), and the one "
                r"that exists has dense \(64 Cosine\), tokens \(32 Dot max_sim\)\. Use another name",
            ):
                use()
    assert len(list(many)) > 800, "it was embedded before the collection was looked at"
    with make_index(encoder) as index:
        assert index.count() == len(TEXTS)


@pytest.mark.parametrize(
    ("vectors", "listed"),
    [
        (models.VectorParams(size=64, distance="Cosine"), r"unnamed \(64 Cosine\)"),
        ({}, "none"),
        (
            {
                "dense": models.VectorParams(size=64, distance="Cosine"),
                "tokens": models.VectorParams(size=32, distance="Dot"),
            },
            r"dense \(64 Cosine\), tokens \(32 Dot\)",
        ),
    ],
)
def test_a_collection_of_somebody_else(encoder, client, vectors, listed):
    """A collection that lacks one of our vectors is refused."""
    client.create_collection("pages", vectors)
    with (
        QdrantIndex(encoder, "pages", client=client) as index,
        pytest.raises(StoreFormatError, match=f"has {listed}. Use"),
    ):
        index.count()


def test_a_collection_with_more_vectors(encoder, client):
    """What else a collection has does not matter, nor how it was tuned."""
    vectors = {
        "dense": models.VectorParams(size=64, distance="Cosine", on_disk=True),
        "tokens": models.VectorParams(
            size=32, distance="Dot", multivector_config=models.MultiVectorConfig(comparator="max_sim")
        ),
        "title": models.VectorParams(size=8, distance="Dot"),
    }
    client.create_collection("pages", vectors, sparse_vectors_config={"words": models.SparseVectorParams()})
    with QdrantIndex(encoder, "pages", client=client) as index:
        index.upsert(TEXTS)
        assert len(index.search(QUERY)) == len(TEXTS)


def test_what_a_server_is_asked_for(server, encoder):
    """The collection is made once, with a graph over dense vectors only; a search is one request."""
    options = {"on_disk": False, "datatype": "float16", "check_compatibility": False}
    with QdrantIndex(encoder, "pages", url=server.url, **options) as index:
        index.upsert(TEXTS)
        index.search(QUERY, limit=2, exact=True)
    (made,) = [json.loads(body) for body in server.bodies("")]
    assert made["vectors"] == {
        "dense": {"size": 64, "distance": "Cosine"},
        "tokens": {
            "size": 32,
            "distance": "Dot",
            "multivector_config": {"comparator": "max_sim"},
            "hnsw_config": {"m": 0},
            "on_disk": False,
            "datatype": "float16",
        },
    }
    (search,) = [json.loads(body) for body in server.bodies("/points/query")]
    (query_tokens,) = encoder.embed_tokens([QUERY], role="query")
    assert search["using"] == "tokens"
    assert search["limit"] == 2
    np.testing.assert_array_equal(np.float32(search["query"]["nearest"]), query_tokens.vectors)
    assert {name: search["prefetch"][name] for name in ("using", "limit", "params")} == {
        "using": "dense",
        "limit": 100,
        "params": {"exact": True},
    }
    assert len(server.bodies("/points")) == 1


def test_options_of_a_server(server, encoder):
    """A server's options go to its client, whose timeout is long enough for large requests."""
    with QdrantIndex(
        encoder, "pages", url=server.url, check_compatibility=False, headers={"X-Tenant": "a"}, timeout=7
    ) as index:
        client = index._collection._opened()
        assert client.init_options["headers"] == {"X-Tenant": "a"}
        assert client.init_options["timeout"] == 7
    with QdrantIndex(encoder, "pages", url=server.url, check_compatibility=False) as index:
        assert index._collection._opened().init_options["timeout"] == 60


def test_a_server_that_checks_its_version(server, encoder):
    """The client's own check of versions runs as it is."""
    with QdrantIndex(encoder, "pages", url=server.url) as index:
        assert index.upsert(TEXTS[:1])
        for thread in threading.enumerate():
            if "_check_compatibility" in thread.name:
                thread.join()


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
