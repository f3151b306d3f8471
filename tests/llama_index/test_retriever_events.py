"""What was set on the embedding holds in the retriever: events, callbacks, rate limits and the cache."""

from __future__ import annotations

import asyncio

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import (
    CallbackManager,
    CBEventType,
    EventPayload,
    LlamaDebugHandler,
    TokenCountingHandler,
)
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from fake_engines import DyingEngine
from jina_vllm_integrations import EmptyTextError, EngineDiedError, ImageNotFoundError
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever, PageImageReader
from llama_index_hits import QUERY, TEXTS
from llama_index_observers import Limiter
from pictures import scans_of


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return what calls a method, or its asynchronous twin in an event loop of its own."""
    if request.param == "sync":
        return lambda owner, method, *given, **options: getattr(owner, method)(*given, **options)
    return lambda owner, method, *given, **options: asyncio.run(getattr(owner, f"a{method}")(*given, **options))


@pytest.fixture
def make(engine, token_store, tmp_path):
    """Return a maker of retrievers over an index of its own, from fields of the embedding."""

    def make(own_engine=None, retriever_options=None, **fields):
        embedding = JinaVLLMEmbedding(engine=own_engine or engine, **fields)
        return JinaVLLMMultiVectorRetriever(
            **{
                # LlamaIndex's index gives the embedding its own.
                "index": VectorStoreIndex([], embed_model=embedding, callback_manager=embedding.callback_manager),
                "embedding": embedding,
                "token_store": token_store,
                "allowed_image_roots": (tmp_path,),
                **(retriever_options or {}),
            }
        )

    return make


def nodes(texts=TEXTS):
    """Return text nodes with ids."""
    return [TextNode(id_=f"id {index}", text=text) for index, text in enumerate(texts)]


def of(events, *kinds):
    """Return the events of some kinds."""
    return [event for event in events if isinstance(event, kinds)]


def test_a_search_tells_of_its_stages(make, engine, observed, call):
    """The query's embedding and the reranking, each with its start and its end, to dispatchers and to callbacks."""
    events, spans = observed
    debug = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([debug])
    retriever = make(callback_manager=manager, retriever_options={"callback_manager": manager, "similarity_top_k": 2})
    call(retriever, "insert_nodes", nodes())
    events.clear()
    debug.flush_event_logs()
    found = call(retriever, "retrieve", QUERY)

    kinds = (EmbeddingStartEvent, EmbeddingEndEvent, ReRankStartEvent, ReRankEndEvent)
    told = of(events, *kinds)
    assert [type(event) for event in told] == list(kinds)
    assert [event.timestamp for event in told] == sorted(event.timestamp for event in told)
    embedding_start, embedded, reranking, reranked = told
    assert embedding_start.model_dict["model_name"] == "fake"
    assert embedded.chunks == [QUERY]
    assert len(embedded.embeddings[0]) == 64
    assert (reranking.query.query_str, reranking.top_n, reranking.model_name) == (QUERY, 2, "fake")
    assert {each.node.node_id for each in reranking.nodes} == {node.node_id for node in nodes()}
    assert reranked.nodes == found
    assert not spans.open_spans

    ((_, ended),) = debug.get_event_pairs(CBEventType.EMBEDDING)
    assert ended.payload[EventPayload.CHUNKS] == [QUERY]
    ((began, ended),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert began.payload[EventPayload.TOP_K] == 2
    assert ended.payload[EventPayload.NODES] == found
    assert debug.get_event_pairs(CBEventType.RETRIEVE)


def test_tokens_are_counted(make, call):
    """Of the nodes that are inserted and of the queries, as for any other embedding."""
    counter = TokenCountingHandler(tokenizer=str.split)
    retriever = make(callback_manager=CallbackManager([counter]))
    call(retriever, "insert_nodes", nodes())
    assert counter.total_embedding_token_count == sum(len(text.split()) for text in TEXTS)
    counter.reset_counts()
    call(retriever, "retrieve", QUERY)
    assert counter.total_embedding_token_count == len(QUERY.split())


def test_nodes_are_reported_and_limited_by_the_batch(make, observed, call):
    """Batches are the embedding's own; nodes keep their order and vectors, whatever the batch."""
    events, _ = observed
    limiter = Limiter()
    retriever = make(rate_limiter=limiter, embed_batch_size=70)
    texts = [f"text {number}" for number in range(150)]
    call(retriever, "insert_nodes", nodes(texts))
    assert limiter.n_acquired == 3
    ends = of(events, EmbeddingEndEvent)
    assert [len(end.chunks) for end in ends] == [70, 70, 10]
    assert [chunk for end in ends for chunk in end.chunks] == texts
    assert len(of(events, EmbeddingStartEvent)) == 3
    call(retriever, "retrieve", QUERY)
    assert limiter.n_acquired == 4
    (best, *_) = call(retriever, "retrieve", texts[140])
    assert best.node.get_content() == texts[140]


def test_bad_nodes_are_not_reported(make, observed, call):
    """A bad one is skipped or raises by its position among all, before any is computed or anybody is asked."""
    events, _ = observed
    limiter = Limiter()
    retriever = make(rate_limiter=limiter, embed_batch_size=2)
    texts = ["a", "b", "c", "x" * 100_000]
    with pytest.raises(Exception, match="item 3"):
        call(retriever, "insert_nodes", nodes(texts))
    assert limiter.n_acquired == 0
    (skipped,) = call(retriever, "insert_nodes", nodes(texts), on_error="skip")
    assert skipped.index == 3
    assert [end.chunks for end in of(events, EmbeddingEndEvent)] == [["a", "b"], ["c"]]


def test_errors_end_what_was_begun(make, observed, call, tmp_path):
    """A failing embedding drops its span as the embedding's own does, and a failing reranking ends without nodes."""
    events, spans = observed
    with pytest.raises(EngineDiedError):
        call(make(own_engine=DyingEngine(0)), "retrieve", QUERY)
    with pytest.raises(EmptyTextError):
        call(make(), "retrieve", QueryBundle(" "))
    assert of(events, EmbeddingEndEvent, ReRankStartEvent) == []

    scans = scans_of(tmp_path, ("red",))
    debug = LlamaDebugHandler(print_trace_on_end=False)
    options = {"on_found_error": "raise", "token_store": None, "callback_manager": CallbackManager([debug])}
    retriever = make(retriever_options=options)
    call(retriever, "insert_nodes", PageImageReader().load_data(scans / "red.png"))
    (scans / "red.png").unlink()
    with pytest.raises(ImageNotFoundError):
        call(retriever, "retrieve", QUERY)
    (end,) = of(events, ReRankEndEvent)
    assert end.nodes == []
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 1
    assert not spans.open_spans


def test_the_cache_is_read_and_filled(make, engine, call, tmp_path):
    """Both ways under equal keys: what the retriever has computed the embedding finds, and what it has, too."""
    scans = scans_of(tmp_path, ("red", "blue"))
    pages = [document for path in sorted(scans.iterdir()) for document in PageImageReader().load_data(path)]
    cache = SimpleKVStore()
    retriever = make(embeddings_cache=cache)
    call(retriever, "insert_nodes", [*nodes(), *pages])
    call(retriever, "retrieve", QUERY)
    embedding = JinaVLLMEmbedding(engine=engine, embeddings_cache=cache)
    engine.batches.clear()
    given = [*nodes(), *pages]
    embedding(given)
    embedding.get_query_embedding(QUERY)
    assert engine.n_requests == 0

    index = VectorStoreIndex([], embed_model=embedding)
    again = make(embeddings_cache=cache, retriever_options={"index": index})
    call(again, "insert_nodes", [*nodes(), *pages])
    assert engine.n_requests == 0
    kept = index.vector_store.data.embedding_dict
    assert kept == {node.node_id: node.embedding for node in given}
    call(again, "retrieve", QUERY)
    assert engine.n_requests == 1  # the query's token vectors

    unkept = make(embeddings_cache=cache, retriever_options={"token_store": None})
    engine.batches.clear()
    call(unkept, "insert_nodes", [*nodes(), *pages])
    assert engine.n_requests == 0
