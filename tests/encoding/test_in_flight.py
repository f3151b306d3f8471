"""How much of a stream is in flight: an image keeps the engine as busy as four texts, and counts as them."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from PIL import Image

from fake_engines import SilentEngine
from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.encoding import in_flight
from jina_vllm_integrations.testing import FakeEngine

LIMIT = 512
LOT = 64  # requests are submitted by so many
N_ITEMS = 700
PICTURE = Image.new("RGB", (60, 40), "red")


class WaitingEngine(SilentEngine):
    """Answers only when it is told to.

    Attributes:
        in_flight: How many requests waited each time that it was told to.
    """

    max_in_flight = LIMIT

    def __init__(self):
        super().__init__()
        self.in_flight = []
        self._embedding = None

    def submit(self, requests):
        """Promise."""
        if requests:
            self._embedding = self._embedding or self._compute(requests[0])
        return super().submit(requests)

    def wait(self, futures, timeout=None):
        """Stand for ``concurrent.futures.wait``: whoever waits gets answers."""
        if not futures[0].done():
            self.answer()

    def answer(self):
        """Answer the oldest requests."""
        waiting = [answer for answer in self.answers if not answer.done()]
        self.in_flight.append(len(waiting))
        for answer in waiting[:50]:
            answer.set_result(self._embedding)


@pytest.fixture
def engine():
    """Return an engine that waits."""
    with WaitingEngine() as engine:
        yield engine


@pytest.fixture(params=["images", "texts"])
def items_and_bounds(request):
    """Return items, and the least and the most of them that should wait for a busy engine."""
    if request.param == "images":
        return [PICTURE] * N_ITEMS, (LIMIT // 4, LIMIT // 4 + LOT)
    return ["text"] * N_ITEMS, (LIMIT, LIMIT)


def test_a_stream_fills_the_engine_and_no_more(engine, items_and_bounds, monkeypatch):
    """A quarter as many images as texts, whenever the stream has to wait."""
    monkeypatch.setattr(in_flight, "wait", engine.wait)
    items, (least, most) = items_and_bounds
    stream = JinaEncoder(engine, task="retrieval").stream(items, role="document")
    next(stream)
    assert least <= engine.in_flight[0] <= most
    assert sum(1 for _ in stream) == N_ITEMS - 1
    assert max(engine.in_flight) <= most


def test_an_asynchronous_call_fills_the_engine_and_no_more(engine, items_and_bounds):
    """As a stream, and the event loop turns meanwhile."""
    items, (least, most) = items_and_bounds
    encoder = JinaEncoder(engine, task="retrieval")
    requests = encoder.requests(items, role="document", output="dense")

    async def compute():
        call = asyncio.create_task(encoder.acompute(requests))
        while not call.done():
            for _ in range(300):  # turns of the loop, after which the call waits for answers
                await asyncio.sleep(0)
            engine.answer()
        return await call

    embeddings = asyncio.run(compute())
    assert len(embeddings) == N_ITEMS
    assert least <= engine.in_flight[0] <= most + LOT
    assert max(engine.in_flight) <= most + LOT


@pytest.mark.parametrize("kind", ["images", "mixed"])
def test_more_images_than_fit_go_through(kind):
    """A lot of images weighs more than the room that was left for it, and the stream goes on."""
    n_images = 3 * FakeEngine.max_in_flight
    pictures = [Image.new("RGB", (30, 30), (n, 255 - n, n % 64)) for n in range(n_images)]
    texts = [f"text {n}" for n in range(n_images)]
    items = pictures if kind == "images" else list(itertools.chain.from_iterable(zip(pictures, texts, strict=True)))
    with FakeEngine() as engine:
        encoder = JinaEncoder(engine, task="retrieval")
        alone = np.stack([encoder.embed([item], role="document")[0] for item in items])

        async def astream():
            return [vector async for vector in encoder.astream(items, role="document")]

        np.testing.assert_array_equal(list(encoder.stream(items, role="document")), alone)
        np.testing.assert_array_equal(asyncio.run(astream()), alone)
