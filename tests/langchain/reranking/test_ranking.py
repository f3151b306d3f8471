"""LangChain's reranker: the order of late interaction, copies, options, errors."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_classic.retrievers.contextual_compression import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors.cross_encoder_rerank import CrossEncoderReranker
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from PIL import Image
from pydantic import ValidationError

from jina_vllm_integrations import (
    EmptyTextError,
    EngineClosedError,
    ItemTypeError,
    JinaEncoder,
    LateInteractionReranker,
    OptionError,
    Ranked,
    TextTooLongError,
    TokenStore,
)
from jina_vllm_integrations.adapters.relevance import relevant
from jina_vllm_integrations.langchain.reranking import JinaVLLMRerank
from jina_vllm_integrations.testing import FakeEngine
from langchain_hits import QUERY, TEXTS, both_ways, documents, page
from pictures import data_uri, png


def hit(score):
    """Return something ranked."""
    return Ranked(index=0, score=score, stored=False)


def test_copies_come_in_the_order_of_late_interaction(make, engine):
    """With ids, metadata and a Python float; the caller's documents stay as they are."""
    given = documents()
    before = copy.deepcopy(given)
    ranked = LateInteractionReranker(JinaEncoder(engine, task="retrieval"), normalize="mean").rerank(QUERY, TEXTS)
    for compress in both_ways(make(top_n=None), given, QUERY):
        found = compress()
        assert [document.id for document in found] == [f"id {each.index}" for each in ranked]
        assert [document.metadata for document in found] == [
            {"source": each.index, "tags": ["a"], "relevance_score": each.score} for each in ranked
        ]
        assert {type(document.metadata["relevance_score"]) for document in found} == {float}
        assert given == before
        assert not any(one is other or one.metadata is other.metadata for one in found for other in given)


def test_a_score_of_an_earlier_stage_gives_way(make):
    """Metadata that has a relevance score already gets the reranker's."""
    (found,) = make().compress_documents([Document("rot", metadata={"relevance_score": 99.0})], QUERY)
    assert found.metadata["relevance_score"] <= 1


def test_top_n(make):
    """Three unless said otherwise, and all for none."""
    assert len(make().compress_documents(documents(), QUERY)) == 3
    assert len(make(top_n=None).compress_documents(documents(), QUERY)) == 4
    assert len(make(top_n=1).compress_documents(documents(), QUERY)) == 1


def test_a_threshold_is_inclusive_and_may_be_zero(make, engine):
    """What scores as much as the threshold stays, and 0.0 is not taken for none."""
    scores = [each["relevance_score"] for each in make().rerank(documents(), QUERY, top_n=None)]
    kept = make(score_threshold=scores[1], top_n=None).compress_documents(documents(), QUERY)
    assert [document.metadata["relevance_score"] for document in kept] == scores[:2]
    assert make(score_threshold=1.5).compress_documents(documents(), QUERY) == []
    assert relevant([hit(0.1), hit(0.0), hit(-0.1)], 0.0) == [hit(0.1), hit(0.0)]
    assert relevant([hit(-0.1)], None) == [hit(-0.1)]


def test_scores_are_comparable_across_queries_unless_sums_are_chosen(make):
    """A mean is at most one; a sum is that times the query's tokens, in the same order."""
    means, sums = (make(**fields).rerank(TEXTS, QUERY, top_n=None) for fields in ({}, {"normalize": "sum"}))
    assert [each["index"] for each in means] == [each["index"] for each in sums]
    assert max(each["relevance_score"] for each in means) <= 1 < max(each["relevance_score"] for each in sums)


def test_ties_keep_the_callers_order(make):
    """Equal documents stay in order, each with its own id."""
    given = documents(["rot", "rot", "the red circle is here", "rot"])
    found = make(top_n=None).compress_documents(given, "the red circle")
    assert [document.id for document in found] == ["id 2", "id 0", "id 1", "id 3"]


def test_no_documents_need_no_engine(make, engine):
    """Nothing in, nothing out, even where there is no model."""
    reranker = JinaVLLMRerank(model="no/such-model")
    for compress in both_ways(reranker, [], QUERY):
        assert compress() == []
    assert reranker.rerank([], QUERY) == asyncio.run(reranker.arerank([], QUERY)) == []
    assert reranker.cross_encoder().score([]) == []
    assert engine.batches == []


@pytest.mark.parametrize(
    "document",
    [
        Document(" "),
        Document("", metadata={"image_uri": None}),
        Document("", metadata={"image_uri": ""}),
        {"title": "x"},
        "",
        {},
    ],
)
def test_a_document_with_neither_text_nor_image_is_named(make, engine, document):
    """It is the caller's own, and not left out in silence."""
    for rank in (make().rerank, lambda *given: asyncio.run(make().arerank(*given))):
        with pytest.raises(EmptyTextError, match=r"item 2: .* under 'image_uri', got neither") as caught:
            rank(["a", "b", document], QUERY)
        assert caught.value.index == 2
    assert engine.batches == []


def test_bad_queries_are_not_blamed_on_documents(make):
    """Their errors have no position."""
    for compress in both_ways(make(), documents(), "  "):
        with pytest.raises(EmptyTextError) as caught:
            compress()
        assert caught.value.index is None


def test_long_documents_raise_or_are_cut():
    """The error names the document, and the remedy exists."""
    with FakeEngine(max_tokens=64) as engine:
        with pytest.raises(TextTooLongError, match="truncate=True") as caught:
            JinaVLLMRerank(engine=engine).rerank([Document("a"), Document("b " * 99)], "q")
        assert caught.value.index == 1
        assert len(JinaVLLMRerank(engine=engine, truncate=True).rerank(["b " * 99], "q")) == 1


def test_reranking_in_coheres_shape(make):
    """Strings, documents and dicts of both usual forms give positions and scores."""
    reranker = make()
    texts = reranker.rerank(TEXTS, QUERY)
    assert len(texts) == 3
    assert texts[0].keys() == {"index", "relevance_score"}
    assert {(type(each["index"]), type(each["relevance_score"])) for each in texts} == {(int, float)}
    for shape in (lambda text: {"text": text}, lambda text: {"page_content": text, "metadata": None}, Document):
        assert reranker.rerank([shape(text) for text in TEXTS], QUERY) == texts
        assert asyncio.run(reranker.arerank([shape(text) for text in TEXTS], QUERY)) == texts
    as_image = reranker.rerank([page(data_uri(png("red")))], QUERY)
    assert reranker.rerank([{"image_uri": data_uri(png("red"))}], QUERY) == as_image
    assert reranker.rerank([{"text": "x", "metadata": {"image_uri": data_uri(png("red"))}}], QUERY) == as_image


def test_top_n_of_one_call(make):
    """A call may ask for more or fewer; left out, the reranker's own counts."""
    reranker = make(top_n=2)
    assert [len(reranker.rerank(TEXTS, QUERY, top_n=top_n)) for top_n in (1, 4, 99, None)] == [1, 4, 4, 4]
    assert len(asyncio.run(reranker.arerank(TEXTS, QUERY))) == 2
    for bad in (0, -1, True, 1.5):
        with pytest.raises(OptionError, match="top_n must be a whole number from 1"):
            reranker.rerank([], QUERY, top_n=bad)


@pytest.mark.parametrize("document", [7, Path("scans/red.png"), png("red"), Image.new("RGB", (9, 9)), ("a", "b")])
def test_what_is_no_document(make, scans, document):
    """No path or bytes slip in as an image, also not as a dict's text."""
    with pytest.raises(ItemTypeError) as caught:
        make().rerank(["a", document], QUERY)
    assert caught.value.index == 1
    with pytest.raises(ItemTypeError) as caught:
        make().rerank(["a", {"text": document}], QUERY)
    assert caught.value.index == 1


@pytest.mark.parametrize("one", ["a text", Document("a text"), {"text": "a text"}])
def test_one_document_is_not_several(make, one):
    """A text is no list of letters, and a document no list of fields."""
    with pytest.raises(ItemTypeError, match=r"For one document write \[document\]"):
        make().rerank(one, QUERY)


def test_only_documents_are_copied(make):
    """Compressing takes nothing else, and says what does."""
    for compress in both_ways(make(), [Document("a"), "b"], QUERY):
        with pytest.raises(ItemTypeError, match="item 1: compress_documents takes Documents, got str 'b'"):
            compress()


def test_with_a_store_only_the_query_is_computed_again(make, engine, tmp_path):
    """Texts and images, and the ranking stays the same."""
    given = [*documents(), page(data_uri(png("red")))]
    with TokenStore(tmp_path / "vectors") as store:
        reranker = make(store=store, top_n=None)
        first = reranker.compress_documents(given, QUERY)
        assert reranker.compress_documents(given, QUERY) == first
        assert asyncio.run(reranker.acompress_documents(given, QUERY)) == first
        reranker.close()
        assert len(store) > 0
    assert engine.batches == [6, 1, 1]


def test_the_event_loop_goes_on(make, engine):
    """While the engine computes, the loop does other things: here, what lets the engine finish."""

    async def both():
        engine.may_go_on.clear()
        ranking = asyncio.create_task(make().acompress_documents(documents(), QUERY))
        await asyncio.sleep(0.05)
        engine.may_go_on.set()
        return await ranking

    assert asyncio.run(both()) == make().compress_documents(documents(), QUERY)


def test_many_coroutines_share_a_reranker(make):
    """All get what one alone gets."""
    reranker = make()

    async def many():
        return await asyncio.gather(*(reranker.acompress_documents(documents(), QUERY) for _ in range(20)))

    alone = reranker.compress_documents(documents(), QUERY)
    assert all(found == alone for found in asyncio.run(many()))


def test_pairs_are_scored_in_their_order(make, engine):
    """One batch a query; the scores are those of reranking."""
    pairs = [(QUERY, "rot"), ("blau", "rot"), (QUERY, "the red circle is here"), ("blau", "blau"), (QUERY, "rot")]
    scores = make().cross_encoder().score(pairs)
    assert engine.batches == [3, 3]
    assert {type(score) for score in scores} == {float}
    for (query, text), score in zip(pairs, scores, strict=True):
        assert score == make().rerank([text], query)[0]["relevance_score"]


@pytest.mark.parametrize("bad", [("", "rot"), ("rot", " ")])
def test_a_bad_pair_is_named(make, engine, bad):
    """Before anything is computed."""
    with pytest.raises(EmptyTextError) as caught:
        make().cross_encoder().score([(QUERY, "rot"), (QUERY, "blau"), bad])
    assert caught.value.index == 2
    assert engine.batches == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "one of engine and model must be given"),
        ({"model": "a", "engine": "b"}, "one of engine and model must be given"),
        ({"engine": "b", "engine_options": {"dtype": "float32"}}, "engine options go with model="),
        ({"model": "a", "topn": 3}, "Extra inputs are not permitted"),
        ({"model": "a", "top_n": 0}, "greater than or equal to 1"),
        ({"model": "a", "top_n": True}, "valid integer"),
        ({"model": "a", "task": "classification"}, "'retrieval', 'text-matching' or 'code'"),
        ({"model": "a", "normalize": "max"}, "'sum' or 'mean'"),
        ({"model": "a", "score_threshold": float("nan")}, "finite number"),
        ({"model": "a", "allowed_image_roots": "scans"}, "valid tuple"),
        ({"model": "a", "store": "vectors"}, "instance of TokenStore"),
    ],
)
def test_wrong_settings(fields, message):
    """They are told when the reranker is made."""
    with pytest.raises(ValidationError, match=message):
        JinaVLLMRerank(**fields)


def test_making_one_does_nothing():
    """A model is looked for when it is first needed; its other name is known; secrets are not shown."""
    reranker = JinaVLLMRerank(model_name="no/such-model", engine_options={"hf_token": "secret"})
    assert reranker.model == "no/such-model"
    assert "secret" not in repr(reranker)


def test_closing_leaves_the_callers_engine_open(make, engine):
    """A closed reranker says so; another one over the same engine works."""
    with make() as reranker:
        reranker.compress_documents(documents(), QUERY)
    for compress in both_ways(reranker, documents(), QUERY):
        with pytest.raises(EngineClosedError):
            compress()

    async def asynchronously():
        async with make() as other:
            return await other.acompress_documents(documents(), QUERY)

    assert len(asyncio.run(asynchronously())) == 3
    engine.submit([])


def test_copies_share_what_was_given(make, engine, tmp_path):
    """Settings of copies are checked and count, and a closed reranker's copy is open."""
    with TokenStore(tmp_path / "vectors") as store, make(store=store) as reranker:
        for copied in (copy.copy(reranker), copy.deepcopy(reranker), reranker.model_copy()):
            assert copied.engine is engine
            assert copied.store is store
            assert copied.model_dump() == reranker.model_dump()
        changed = reranker.model_copy(update={"top_n": 1, "truncate": True})
        with pytest.raises(ValidationError, match="greater than or equal to 1"):
            reranker.model_copy(update={"top_n": 0})
        reranker.close()
        assert len(changed.compress_documents(documents(), QUERY)) == 1
        with pytest.raises(OptionError, match="got engine and store"):
            pickle.dumps(reranker)
    made = JinaVLLMRerank(model="no/such-model", top_n=None, allowed_image_roots=(tmp_path,))
    assert pickle.loads(pickle.dumps(made)).model_dump() == made.model_dump()  # noqa: S301 - made above


class Shelf(BaseRetriever):
    """Finds all it has."""

    documents: list[Document]

    def _get_relevant_documents(self, query, **kwargs):
        return self.documents


def test_behind_a_retriever(make):
    """LangChain's own retriever compresses with it, both ways, and leaves what was found alone."""
    given = documents()
    retriever = ContextualCompressionRetriever(base_compressor=make(), base_retriever=Shelf(documents=given))
    expected = make().compress_documents(given, QUERY)
    assert retriever.invoke(QUERY) == asyncio.run(retriever.ainvoke(QUERY)) == expected
    assert given == documents()


def test_behind_langchains_cross_encoder_reranker(make):
    """It orders documents as this one does."""
    found = CrossEncoderReranker(model=make().cross_encoder(), top_n=2).compress_documents(documents(), QUERY)
    assert [each.id for each in found] == [each.id for each in make(top_n=2).compress_documents(documents(), QUERY)]


def test_without_langchain_the_extra_is_named():
    """The error says what to install."""
    script = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from jina_vllm_integrations import MissingExtraError\n"
        "try:\n    from jina_vllm_integrations.langchain import JinaVLLMRerank\n"
        "except MissingExtraError as error:\n    assert error.extra == 'langchain'\n"
        "else:\n    raise SystemExit('imported')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_reranking_documents_with_vllm(vllm_engine, tmp_path, scans):
    """The real engine ranks texts and a page, from metadata to metadata, and again from the store."""
    given = [*documents(), page("scans/red.png")]
    with TokenStore(tmp_path / "vectors") as store:
        reranker = JinaVLLMRerank(engine=vllm_engine, store=store, allowed_image_roots=(scans,), top_n=None)
        first = reranker.compress_documents(given, QUERY)
        again = asyncio.run(reranker.acompress_documents(given, QUERY))
    assert sorted(each.page_content for each in first) == sorted(each.page_content for each in given)
    assert [each.page_content for each in again] == [each.page_content for each in first]
    scores = [[each.metadata["relevance_score"] for each in found] for found in (first, again)]
    assert scores[0] == sorted(scores[0], reverse=True)
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
