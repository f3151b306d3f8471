"""What LlamaIndex is told of an embedding's work: events, spans, progress, rate limits."""

from __future__ import annotations

import asyncio
import io

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import ImageNode, TextNode
from PIL import Image

from jina_vllm_integrations import EmptyTextError, ImageInput
from jina_vllm_integrations.adapters.labels import label
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding
from llama_index_observers import Limiter
from pictures import data_uri

CALLS = {
    "text": (lambda e, _: e.get_text_embedding("a"), ["a"]),
    "query": (lambda e, _: e.get_query_embedding("a"), ["a"]),
    "texts": (lambda e, _: e.get_text_embedding_batch(["a", "b"]), ["a", "b"]),
    "image": (lambda e, red: e.get_image_embedding(str(red)), [None]),
    "images": (lambda e, red: e.get_image_embedding_batch([str(red), red]), [None, None]),
    "nodes": (lambda e, red: e([TextNode(text="a"), ImageNode(image_path=str(red))]), ["a", None]),
    "queries": (lambda e, _: e.get_agg_embedding_from_queries(["a", "b"]), ["a", "b"]),
    "text, async": (lambda e, _: asyncio.run(e.aget_text_embedding("a")), ["a"]),
    "query, async": (lambda e, _: asyncio.run(e.aget_query_embedding("a")), ["a"]),
    "texts, async": (lambda e, _: asyncio.run(e.aget_text_embedding_batch(["a", "b"])), ["a", "b"]),
    "image, async": (lambda e, red: asyncio.run(e.aget_image_embedding(str(red))), [None]),
    "images, async": (lambda e, red: asyncio.run(e.aget_image_embedding_batch([str(red), red])), [None, None]),
    "nodes, async": (lambda e, red: asyncio.run(e.acall([TextNode(text="a"), ImageNode(image_path=str(red))])), ["a", None]),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize(("call", "chunks"), CALLS.values(), ids=CALLS)
def test_texts_and_images_are_reported_alike(engine, red, observed, call, chunks):
    """Each call is one span with one start and one end, and one callback; an image is its path there."""
    events, spans = observed
    debug = LlamaDebugHandler(print_trace_on_end=False)
    embedding = JinaVLLMEmbedding(engine=engine, callback_manager=CallbackManager([debug]))
    call(embedding, red)
    chunks = [str(red) if chunk is None else chunk for chunk in chunks]
    (start, end) = [event for event in events if isinstance(event, EmbeddingStartEvent | EmbeddingEndEvent)]
    assert start.model_dict == {"class_name": "JinaVLLMEmbedding", "model_name": "fake", "embed_batch_size": 1024}
    assert end.chunks == chunks
    assert len(end.embeddings) == len(chunks)
    (span,) = spans.completed_spans
    assert span.id_.startswith("JinaVLLMEmbedding.")
    assert start.span_id == end.span_id == span.id_
    assert not spans.open_spans
    ((began, ended),) = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert began.payload[EventPayload.SERIALIZED] == start.model_dict
    assert ended.payload[EventPayload.CHUNKS] == chunks
    assert ended.payload[EventPayload.EMBEDDINGS] == end.embeddings


def test_batches_are_reported_one_by_one(engine, observed):
    """Each batch has its start and end, and a failing one drops its span."""
    events, spans = observed
    embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=2)
    asyncio.run(embedding.aget_text_embedding_batch(["a", "b", "c"]))
    assert sorted(event.chunks for event in events if isinstance(event, EmbeddingEndEvent)) == [["a", "b"], ["c"]]
    assert sum(isinstance(event, EmbeddingStartEvent) for event in events) == 2
    with pytest.raises(EmptyTextError):
        embedding.get_text_embedding_batch([""])
    assert len(spans.dropped_spans) == 1
    assert not spans.open_spans


def test_an_images_label_holds_no_bytes_and_no_secrets(red):
    """What traces are told is short: a path, an address or a digest."""
    content = red.read_bytes()
    digest = label(ImageInput(content))
    assert digest.startswith("image:")
    assert len(digest) == 22
    assert label(ImageInput(io.BytesIO(content))) == digest
    assert label(ImageInput(data_uri(red.read_bytes()))).startswith("image:")
    assert label(ImageInput("https://user:pass@example.com/a.png?key=secret")) == "https://example.com/a.png"
    assert label(ImageInput(Image.new("RGB", (60, 40)))) == "image:60x40 pixels"
    assert label(ImageInput(red)) == label(ImageInput(str(red))) == str(red)
    with red.open("rb") as file:
        assert label(ImageInput(file)) == f"image:{red}"


def test_progress_is_shown_when_asked_for(embedding, red, capsys):
    """Texts, images and nodes count alike."""
    embedding.get_text_embedding_batch(["a", "b"])
    assert "Generating" not in capsys.readouterr().err
    embedding.get_text_embedding_batch(["a", "b"], show_progress=True)
    assert "Generating embeddings: 100%" in capsys.readouterr().err
    asyncio.run(embedding.aget_image_embedding_batch([red], show_progress=True))
    assert "Generating embeddings: 100%" in capsys.readouterr().err
    embedding([TextNode(text="a")], show_progress=True, other=1)
    assert "Generating embeddings: 100%" in capsys.readouterr().err


def test_the_rate_limit_is_asked_once_a_batch(engine, red):
    """Texts, images and nodes keep to it, also asynchronously."""
    limiter = Limiter()
    embedding = JinaVLLMEmbedding(engine=engine, embed_batch_size=2, rate_limiter=limiter)
    embedding.get_text_embedding_batch(["a", "b", "c"])
    embedding.get_query_embedding("a")
    embedding.get_image_embedding_batch([red])
    assert limiter.n_acquired == 4
    asyncio.run(embedding.aget_text_embedding_batch(["a", "b", "c"]))
    asyncio.run(embedding.acall([ImageNode(image_path=str(red))]))
    assert limiter.n_acquired == 7
