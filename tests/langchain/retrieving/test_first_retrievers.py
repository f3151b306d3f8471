"""LangChain's retriever over others: any of them finds, late interaction ranks."""

from __future__ import annotations

import copy
import pickle

import pytest
from langchain_classic.retrievers import EnsembleRetriever, MergerRetriever
from langchain_community.retrievers import TFIDFRetriever
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from jina_vllm_integrations import ImageInput, ImageNotFoundError, OptionError, TextInput
from jina_vllm_integrations.langchain import JinaVLLMRetriever, create_page_search_tool
from langchain_stores import COLOURS, QUERY, TEXTS, documents, in_memory, names, page
from langchain_tool import CountingPages, Pages

BEST = "the red circle is here"


@pytest.fixture
def over(embeddings, token_store, scans):
    """Return a maker of retrievers over another."""

    def over(retriever, **fields):
        stages = {"retriever": retriever, "embeddings": embeddings, "token_store": token_store}
        return JinaVLLMRetriever(**{"allowed_image_roots": (scans,), **stages, **fields})

    return over


def by_words(k=4):
    """Return a retriever by words, which decides how many it finds."""
    return TFIDFRetriever.from_documents(documents(), k=k)


def by_another_model():
    """Return a retriever over a vector store of another model."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents(documents())
    return store.as_retriever()


def by_functions():
    """Return a chain of functions."""
    return RunnableLambda(lambda query: (query, documents())) | RunnableLambda(lambda both: both[1])


def fail(query):
    """Raise."""
    raise ConnectionError


@pytest.mark.parametrize(
    "first",
    [
        by_words,
        by_another_model,
        lambda: EnsembleRetriever(retrievers=[by_words(), by_another_model()]),
        lambda: by_another_model().with_config(tags=["mine"]),
        lambda: RunnableLambda(fail).with_fallbacks([by_words()]),
        lambda: by_words().configurable_fields(k=ConfigurableField("k")),
        lambda: PromptTemplate.from_template("{query}") | RunnableLambda(lambda prompt: prompt.text) | by_words(),
        by_functions,
    ],
    ids=["words", "store", "ensemble", "config", "fallbacks", "configurable", "prompt", "functions"],
)
def test_any_retriever_finds(over, first, call):
    """Late interaction orders what it found; each document comes once, with a score."""
    found = call(over(first()), "invoke", QUERY)
    assert found[0].page_content == BEST
    assert sorted(names(found)) == sorted(TEXTS)
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == sorted(scores, reverse=True)


def test_one_of_ours_is_asked_by_images(over, make, scans, call):
    """Also as the first stage of another, with a configuration or behind a function."""
    inner = make()
    inner.add_images([scans / f"{colour}.png" for colour in COLOURS])
    for first in (inner, inner.with_config(tags=["x"]), inner.with_fallbacks([inner]), RunnableLambda(inner.invoke)):
        (found,) = call(over(first, k=1), "invoke", ImageInput(scans / "green.png"))
        assert found.page_content == "[scans/green.png]"


@pytest.mark.parametrize("first", [by_words, lambda: PromptTemplate.from_template("{query}") | by_words()])
def test_an_image_is_no_query_for_words(over, engine, first, scans, call):
    """It is refused before anything is computed."""
    with pytest.raises(OptionError, match=r"a TFIDFRetriever, must be asked by a text.* an image.*RunnableLambda"):
        call(over(first()), "invoke", ImageInput(scans / "green.png"))
    assert engine.batches == []


def test_a_retriever_gets_a_plain_text(over, call):
    """Whatever the text came in."""
    first = Pages(documents=documents())
    call(over(first), "invoke", TextInput(QUERY))
    call(over(first), "invoke", [{"type": "text", "text": QUERY}])
    assert first.queries == [QUERY] * 2
    assert all(type(query) is str for query in first.queries)


def test_how_many_are_found(over, call):
    """One that takes a number is asked for ``fetch_k``; of what another finds, so many are ranked, or all."""
    counting = CountingPages(documents=documents())
    assert len(call(over(counting, fetch_k=2, k=1), "invoke", QUERY)) == 1
    call(over(counting), "invoke", QUERY, fetch_k=7)
    call(over(counting), "invoke", QUERY, fetch_k=None)
    assert counting.numbers == [2, 7, 3]
    many = [Document(f"the red circle {number}") for number in range(60)]
    assert len(call(over(Pages(documents=many), k=5, fetch_k=6), "invoke", QUERY, k=10)) == 10
    everything = over(Pages(documents=[*many, Document(QUERY)]), fetch_k=None, k=1)
    assert names(call(everything, "invoke", QUERY)) == [QUERY]
    assert names(call(everything, "invoke", QUERY, fetch_k=60)) != [QUERY]


def test_what_is_found_twice_is_ranked_once(over, call):
    """The same text with the same id or the same metadata; neither an id nor a text alone makes a document the same."""
    found = [
        Document("a", id="1", metadata={"source": "x", "score": 0.3}),
        Document("a", id="1", metadata={"source": "x"}),
        Document("a", id="2", metadata={"source": "x"}),
        Document("b", id="1"),
        Document("a", metadata={"source": "y"}),
        Document("b"),
    ]
    ranked = call(over(Pages(documents=found), k=9), "invoke", QUERY)
    kept = [(each.page_content, each.id, each.metadata.get("source")) for each in ranked]
    assert sorted(kept, key=str) == [("a", "1", "x"), ("a", None, "y"), ("b", "1", None)]
    merged = MergerRetriever(retrievers=[by_words(), by_words()])
    assert sorted(names(call(over(merged, k=9), "invoke", QUERY))) == sorted(TEXTS)


def test_its_run_is_inside_of_ours(over, call):
    """Callbacks see both, the one under the stage that finds, which is the other's child."""

    class Runs(BaseCallbackHandler):
        def __init__(self):
            self.started, self.stages, self.ended = [], {}, 0

        def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **rest):
            self.stages[run_id] = (rest["name"], parent_run_id)

        def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, metadata=None, **rest):
            self.started.append((run_id, parent_run_id, metadata))

        def on_retriever_end(self, documents, **rest):
            self.ended += 1

    runs = Runs()
    call(over(by_words()), "invoke", QUERY, {"callbacks": [runs]})
    (outer, nobody, metadata), (_, parent, _) = runs.started
    assert (nobody, runs.stages[parent], runs.ended) == (None, ("find", outer), 2)
    assert metadata["ls_embedding_provider"] == "jina-vllm"
    assert "ls_vector_store_provider" not in metadata


def test_a_bad_page_takes_no_others_along(over, scans, call):
    """What a retriever found is lenient, as what a store found is; or strict where that was chosen."""
    red = page(scans / "red.png")
    (scans / "red.png").unlink()
    first = Pages(documents=[red, *documents()])
    assert sorted(names(call(over(first), "invoke", QUERY))) == sorted(TEXTS)
    *_, last = call(over(first, on_found_error="last", k=5), "invoke", QUERY)
    assert last.page_content == red.page_content
    with pytest.raises(ImageNotFoundError):
        call(over(first, on_found_error="raise"), "invoke", QUERY)


@pytest.mark.parametrize(
    ("method", "given"),
    [("add_documents", documents()), ("add_images", ["a.png"]), ("delete", ["1"]), ("get_by_ids", ["1"])],
)
def test_documents_are_kept_elsewhere(over, method, given, call):
    """So they come and go there."""
    with pytest.raises(OptionError, match=r"the first stage is a TFIDFRetriever\. Pass vectorstore=, or add, look up"):
        call(over(by_words()), method, given)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"embeddings": None}, "embeddings must be given with retriever=.*got NoneType"),
        ({"filter": {"place": 2}}, "filter must be given to the retriever that is the first stage, a TFIDFRetriever"),
        ({"search_kwargs": {"fetch_k": 3}}, "fetch_k must be given to the retriever"),
        ({"search_type": "mmr"}, "search_type must be given to the retriever"),
        ({"retriever": "words"}, "retriever must be a retriever of LangChain's.*got str"),
    ],
)
def test_options_that_are_not_ours(over, fields, rule):
    """Are refused when it is made, with what to do."""
    with pytest.raises(ValidationError, match=rule):
        over(**{"retriever": by_words(), **fields})


def test_options_of_a_call_that_are_not_ours(over, engine, call):
    """Are refused before anything is computed; those that are, hold."""
    retriever = over(by_words())
    for options in ({"filter": {"place": 2}}, {"lambda_mult": 0.5}, {"search_type": "mmr"}):
        (name,) = options
        with pytest.raises(OptionError, match=f"{name} must be given to the retriever"):
            call(retriever, "invoke", QUERY, **options)
    assert engine.batches == []
    assert names(call(retriever, "invoke", QUERY, k=1)) == [BEST]
    assert call(retriever, "invoke", QUERY, score_threshold=1.0) == []


def test_one_first_stage(over, make, embeddings):
    """Two are refused."""
    with pytest.raises(ValidationError, match="one of vectorstore, retriever and index must be given, got 2"):
        over(by_words(), vectorstore=in_memory(embeddings))


def test_what_finds_no_documents_is_told(over, call):
    """By the type of what it returned."""
    with pytest.raises(OptionError, match="a retriever must return a list of documents, got str 'WHERE"):
        call(over(RunnableLambda(str.upper)), "invoke", QUERY)


def test_copies_share_it(over):
    """And it does not travel."""
    retriever = over(by_words())
    assert copy.deepcopy(retriever).retriever is retriever.retriever
    assert retriever.model_copy(update={"k": 2}).retriever is retriever.retriever
    with pytest.raises(OptionError, match="embeddings and retriever and token_store"):
        pickle.dumps(retriever)


def test_an_agents_tool_searches_with_it(over):
    """For as many as the model asks."""
    tool = create_page_search_tool(over(by_words()), image_mode="none")
    assert len(tool.invoke({"query": QUERY, "k": 2})) == 2
