"""LlamaIndex's reranker: the order of late interaction, copies, traces, options, errors."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from pydantic import ValidationError

from fake_engines import DyingEngine
from jina_vllm_integrations import (
    EmptyTextError,
    EngineClosedError,
    EngineDiedError,
    ImageError,
    ImageLimits,
    ImageNotFoundError,
    InputError,
    ItemTypeError,
    OptionError,
    TextTooLongError,
    TokenStore,
)
from jina_vllm_integrations.llama_index import JinaVLLMRerank
from jina_vllm_integrations.testing import FakeEngine
from llama_index_hits import QUERY, TEXTS, both_ways, expected, found, refused, text_nodes
from pictures import in_base64, png


class Events(BaseEventHandler):
    """Notes what LlamaIndex is told of rerankings."""

    events: list = []  # noqa: RUF012 - pydantic copies it

    def handle(self, event, **_):
        """Note."""
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.events.append(event)


class Shelf(BaseRetriever):
    """Finds all it has."""

    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle):
        return self.nodes


@pytest.fixture
def events():
    """Return what is told of rerankings."""
    handler = Events()
    root = get_dispatcher()
    root.add_event_handler(handler)
    yield handler.events
    root.event_handlers.remove(handler)


def test_copies_come_in_the_order_of_late_interaction(make, engine):
    """One call leaves its input alone; scores are floats, ids and metadata stay."""
    given = text_nodes()
    before = copy.deepcopy(given)
    ranked = expected(engine, QUERY, [each.get_content(MetadataMode.EMBED) for each in given])
    for rerank in both_ways(make(top_n=None), given):
        reranked = rerank()
        assert [(each.node_id, each.score) for each in reranked] == [(f"id {index}", score) for index, score in ranked]
        assert [each.metadata for each in reranked] == [{"source": index, "tags": ["a"]} for index, _ in ranked]
        assert given == before
        assert not any(
            one is other or one.node is other.node or one.metadata is other.metadata
            for one in reranked
            for other in given
        )


def test_scores_are_json(make):
    """Also the one that is kept, whatever number the first stage wrote: LlamaIndex does not check it."""
    given = text_nodes()
    for each in given:
        each.score = np.float32(0.25)
    for rerank in both_ways(make(keep_retrieval_score=True), given):
        reranked = rerank()
        assert {type(each.score) for each in reranked} == {float}
        assert json.loads(json.dumps([each.to_dict() for each in reranked]))[0]["node"]["metadata"] == {
            "source": 2,
            "tags": ["a"],
            "retrieval_score": 0.25,
        }


def test_a_kept_retrieval_score_does_not_spoil_the_store(make, engine, tmp_path):
    """It is hidden from embeddings and models, so a second pass finds all vectors in the store."""
    with TokenStore(tmp_path / "vectors") as store:
        for mode in MetadataMode:
            reranker = make(store=store, top_n=None, keep_retrieval_score=True, metadata_mode=mode)
            given = text_nodes()
            before = copy.deepcopy(given)
            first = reranker.postprocess_nodes(given, query_str=QUERY)
            engine.batches.clear()
            again = reranker.postprocess_nodes(first, query_str=QUERY)
            assert engine.batches == [1]
            assert given == before
            assert [each.score for each in again] == [each.score for each in first]
            assert [each.metadata["retrieval_score"] for each in again] == [each.score for each in first]
            for each in again:
                assert "retrieval_score" not in each.get_content(MetadataMode.EMBED)
                assert "retrieval_score" not in each.get_content(MetadataMode.LLM)
                assert each.node.excluded_embed_metadata_keys == ["retrieval_score"]


def test_a_retrieval_score_that_is_not_hidden_is_not_ranked(make, engine):
    """Other rerankers write it into the text."""
    node = TextNode(text="rot", metadata={"retrieval_score": 0.5, "title": "t"})
    (reranked,) = make().postprocess_nodes(found(node), query_str=QUERY)
    assert reranked.score == expected(engine, QUERY, ["title: t\n\nrot"])[0][1]
    assert reranked.metadata == {"retrieval_score": 0.5, "title": "t"}


def test_no_score_is_none_to_keep(make):
    """A node may come without."""
    (reranked,) = make(keep_retrieval_score=True).postprocess_nodes(
        [NodeWithScore(node=TextNode(text="a"))], query_str=QUERY
    )
    assert reranked.metadata == {}


def test_the_text_is_what_was_embedded_unless_said_otherwise(make, engine):
    """With the metadata that embeddings see."""
    node = TextNode(text="rot", metadata={"title": "t", "size": 7}, excluded_embed_metadata_keys=["size"])
    for fields, text in (
        ({}, "title: t\n\nrot"),
        ({"metadata_mode": "all"}, "title: t\nsize: 7\n\nrot"),
        ({"metadata_mode": MetadataMode.NONE}, "rot"),
    ):
        (reranked,) = make(**fields).postprocess_nodes(found(node), query_str=QUERY)
        assert reranked.score == expected(engine, QUERY, [text])[0][1]


def test_top_n_and_thresholds(make):
    """Three unless said otherwise, all for none; a threshold is inclusive, and may be zero."""
    assert len(make().postprocess_nodes(text_nodes(), query_str=QUERY)) == 3
    scores = [each.score for each in make(top_n=None).postprocess_nodes(text_nodes(), query_str=QUERY)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 4
    reranker = make(top_n=2)
    for rerank in both_ways(reranker, text_nodes()):
        assert [each.score for each in rerank()] == scores[:2]
    assert reranker.top_n == 2
    kept = make(score_threshold=scores[1], top_n=None).postprocess_nodes(text_nodes(), query_str=QUERY)
    assert [each.score for each in kept] == scores[:2]
    assert make(score_threshold=1.5).postprocess_nodes(text_nodes(), query_str=QUERY) == []
    assert make(normalize="sum").postprocess_nodes(text_nodes(), query_str=QUERY)[0].score > 1


def test_a_bad_query_is_not_blamed_on_a_node(make, engine):
    """Its error has no position."""
    for query, error in (
        (QueryBundle(" "), EmptyTextError),
        (QueryBundle("", image_path="missing.png"), ImageNotFoundError),
    ):
        for rerank in both_ways(make(), text_nodes(), query):
            with pytest.raises(error) as caught:
                rerank()
            assert caught.value.index is None
            assert not hasattr(caught.value, "__notes__")
    assert engine.batches == []


@pytest.mark.parametrize("nodes", [[], text_nodes()])
def test_a_query_is_needed(make, nodes):
    """Also where there is nothing to rank."""
    for rerank in both_ways(make(), nodes, None):
        with pytest.raises(InputError, match=r"reranking needs a query, got none\. Pass query_str= or query_bundle="):
            rerank()


def test_no_nodes_need_no_engine():
    """Nothing in, nothing out, even where there is no model."""
    for rerank in both_ways(JinaVLLMRerank(model="no/such-model"), []):
        assert rerank() == []


def test_what_is_no_node_with_score(make):
    """The error says what to write."""
    for rerank in both_ways(make(), [*text_nodes(), TextNode(text="a")]):
        with pytest.raises(ItemTypeError, match=r"item 4: .* got TextNode .* Write NodeWithScore\(node=\.\.\.\)"):
            rerank()


def test_limits_and_truncation():
    """An image may not cost more than the limits; a long text raises or is cut."""
    with FakeEngine(max_tokens=64) as engine:
        long = TextNode(text="b " * 99)
        assert "truncate=True" in refused(JinaVLLMRerank(engine=engine), long, TextTooLongError)
        assert JinaVLLMRerank(engine=engine, truncate=True).postprocess_nodes(found(long), query_str=QUERY)
        small = JinaVLLMRerank(engine=engine, image_limits=ImageLimits(max_pixels=100))
        refused(small, ImageNode(image=in_base64(png("red"))), ImageError)


def told(events, handler):
    """Return what was told, and forget it."""
    (start, end), (pair,) = events, handler.get_event_pairs(CBEventType.RERANKING)
    events.clear()
    handler.flush_event_logs()
    return start, end, pair[0].payload, pair[1].payload


def test_traces_are_told_of_every_exit(make, engine, events):
    """A start and an end each, as events and as callbacks: of results, of nothing, of errors and of cancelling."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([handler])

    for rerank in both_ways(make(top_n=2, callback_manager=manager), text_nodes()):
        nodes = rerank()
        start, end, began, ended = told(events, handler)
        assert (start.query.query_str, len(start.nodes), start.top_n, start.model_name) == (QUERY, 4, 2, "fake")
        assert end.nodes == ended[EventPayload.NODES] == nodes
        assert began[EventPayload.QUERY_STR] == QUERY
        assert (began[EventPayload.TOP_K], began[EventPayload.MODEL_NAME]) == (2, "fake")

    for rerank in both_ways(make(top_n=None, callback_manager=manager), []):
        assert rerank() == []
        start, end, _, ended = told(events, handler)
        assert (start.top_n, end.nodes, ended[EventPayload.NODES]) == (0, [], [])

    with DyingEngine(0) as dying:
        for reranker, nodes, query, error in (
            (make(callback_manager=manager), text_nodes(), None, InputError),
            (make(callback_manager=manager, on_found_error="raise"), text_nodes([" "]), QUERY, EmptyTextError),
            (JinaVLLMRerank(engine=dying, callback_manager=manager), text_nodes(), QUERY, EngineDiedError),
        ):
            for rerank in both_ways(reranker, nodes, query):
                with pytest.raises(error) as caught:
                    rerank()
                _, end, _, ended = told(events, handler)
                assert end.nodes == []
                assert ended[EventPayload.EXCEPTION] is caught.value

    async def cancel():
        engine.may_go_on.clear()
        ranking = asyncio.create_task(make(callback_manager=manager).apostprocess_nodes(text_nodes(), query_str=QUERY))
        assert await asyncio.to_thread(engine.at_work.wait, 30)
        ranking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ranking

    engine.at_work.clear()
    asyncio.run(cancel())
    engine.may_go_on.set()
    _, end, _, _ = told(events, handler)
    assert end.nodes == []


def test_the_event_loop_goes_on(make, engine):
    """While the engine computes, the loop does other things: here, what lets the engine finish."""

    async def both():
        engine.may_go_on.clear()
        ranking = asyncio.create_task(make().apostprocess_nodes(text_nodes(), query_str=QUERY))
        await asyncio.sleep(0.05)
        engine.may_go_on.set()
        return await ranking

    assert asyncio.run(both()) == make().postprocess_nodes(text_nodes(), query_str=QUERY)


def test_many_coroutines_share_a_reranker(make):
    """All get what one alone gets."""
    reranker = make()

    async def many():
        return await asyncio.gather(*(reranker.apostprocess_nodes(text_nodes(), query_str=QUERY) for _ in range(20)))

    alone = reranker.postprocess_nodes(text_nodes(), query_str=QUERY)
    assert all(nodes == alone for nodes in asyncio.run(many()))


def test_with_a_store_only_the_query_is_computed_again(make, engine, tmp_path):
    """Texts and images, and the ranking stays the same."""
    given = [*text_nodes(), *found(ImageNode(image=in_base64(png("red"))))]
    with TokenStore(tmp_path / "vectors") as store:
        reranker = make(store=store, top_n=None)
        first = reranker.postprocess_nodes(given, query_str=QUERY)
        for rerank in both_ways(reranker, given):
            assert rerank() == first
    assert engine.batches == [6, 1, 1]


def test_it_is_llama_indexs(make):
    """A query engine takes it, sets its callback manager, and answers from what it ranked, both ways."""
    assert BaseNodePostprocessor in JinaVLLMRerank.__mro__
    assert JinaVLLMRerank.class_name() == "JinaVLLMRerank"
    reranker = make(top_n=2)
    given = text_nodes()
    asking = RetrieverQueryEngine.from_args(Shelf(given), llm=MockLLM(), node_postprocessors=[reranker])
    assert reranker.callback_manager is asking.callback_manager
    expected_nodes = make(top_n=2).postprocess_nodes(given, query_str=QUERY)
    assert asking.query(QUERY).source_nodes == asyncio.run(asking.aquery(QUERY)).source_nodes == expected_nodes
    assert given == text_nodes(TEXTS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "one of engine and model must be given"),
        ({"model": "a", "engine": "b"}, "one of engine and model must be given"),
        ({"engine": "b", "engine_options": {"dtype": "float32"}}, "engine options go with model="),
        ({"model": "a", "topn": 3}, "Extra inputs are not permitted"),
        ({"model": "a", "top_n": 0}, "greater than or equal to 1"),
        ({"model": "a", "metadata_mode": "some"}, "'all', 'embed', 'llm' or 'none'"),
        ({"model": "a", "score_threshold": float("nan")}, "finite number"),
        ({"model": "a", "allowed_image_roots": "scans"}, "valid tuple"),
        ({"model": "a", "store": "vectors"}, "instance of TokenStore"),
    ],
)
def test_wrong_settings(fields, message):
    """They are told when the reranker is made."""
    with pytest.raises(ValidationError, match=message):
        JinaVLLMRerank(**fields)


def test_what_may_be_changed(make):
    """Settings of the ranking, which are checked; not how vectors are computed."""
    reranker = make()
    reranker.top_n = 1
    assert len(reranker.postprocess_nodes(text_nodes(), query_str=QUERY)) == 1
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        reranker.top_n = 0
    for name in ("engine", "model", "engine_options", "task", "truncate", "image_limits"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(reranker, name, None)


def test_making_one_does_nothing(tmp_path):
    """A model is looked for when it is first needed; its settings are JSON, without secrets."""
    reranker = JinaVLLMRerank(
        model_name="no/such-model", engine_options={"hf_token": "secret"}, allowed_image_roots=(tmp_path,)
    )
    assert "secret" not in repr(reranker) + reranker.to_json()
    again = JinaVLLMRerank.from_json(reranker.to_json())
    assert (again.model, again.allowed_image_roots) == ("no/such-model", (tmp_path,))
    assert again.to_dict() == reranker.to_dict()


def test_closing_leaves_the_callers_engine_open(make, engine):
    """A closed reranker says so; another one over the same engine works."""
    with make() as reranker:
        reranker.postprocess_nodes(text_nodes(), query_str=QUERY)
    for rerank in both_ways(reranker, text_nodes()):
        with pytest.raises(EngineClosedError):
            rerank()
    engine.submit([])


def test_copies_share_what_was_given(make, engine, tmp_path):
    """Settings of copies are checked and count; pickled, nothing is lost in silence."""
    manager = CallbackManager()
    with TokenStore(tmp_path / "vectors") as store, make(store=store, callback_manager=manager) as reranker:
        for copied in (copy.copy(reranker), copy.deepcopy(reranker), reranker.model_copy()):
            assert (copied.engine, copied.store, copied.callback_manager) == (engine, store, manager)
            assert copied.to_dict() == reranker.to_dict()
        changed = reranker.model_copy(update={"top_n": 1, "truncate": True})
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            reranker.model_copy(update={"top_n": 0})
        reranker.close()
        assert len(changed.postprocess_nodes(text_nodes(), query_str=QUERY)) == 1
        with pytest.raises(OptionError, match="got engine and store"):
            pickle.dumps(reranker)
    made = JinaVLLMRerank(model="no/such-model", engine_options={"dtype": "float32"}, callback_manager=manager)
    twin = pickle.loads(pickle.dumps(made))  # noqa: S301 - made above
    assert (twin.to_dict(), twin.engine_options) == (made.to_dict(), made.engine_options)


def test_without_llama_index_the_extra_is_named():
    """The error says what to install."""
    script = (
        "import sys; sys.modules['llama_index'] = None\n"
        "from jina_vllm_integrations import MissingExtraError\n"
        "try:\n    from jina_vllm_integrations.llama_index import JinaVLLMRerank\n"
        "except MissingExtraError as error:\n    assert error.extra == 'llama-index'\n"
        "else:\n    raise SystemExit('imported')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_reranking_nodes_with_vllm(vllm_engine, tmp_path, scans):
    """The real engine ranks texts and a page, and again from the store."""
    given = [*text_nodes(), *found(ImageNode(image_path="scans/red.png"))]
    with TokenStore(tmp_path / "vectors") as store:
        reranker = JinaVLLMRerank(engine=vllm_engine, store=store, allowed_image_roots=(scans,), top_n=None)
        first, again = (rerank() for rerank in both_ways(reranker, given))
    assert sorted(each.node_id for each in first) == sorted(each.node_id for each in given)
    assert [each.node_id for each in again] == [each.node_id for each in first]
    scores = [[each.score for each in nodes] for nodes in (first, again)]
    assert scores[0] == sorted(scores[0], reverse=True)
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
