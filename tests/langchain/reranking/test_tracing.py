"""What LangChain's tracers see of the reranker."""

from __future__ import annotations

import asyncio

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from jina_vllm_integrations import ImageNotFoundError
from langchain_hits import QUERY, TEXTS, documents, page
from langchain_runs import Runs, names_of_runs


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return what calls a method, or its asynchronous twin in an event loop of its own."""
    if request.param == "sync":
        return lambda owner, method, *given: getattr(owner, method)(*given)
    return lambda owner, method, *given: asyncio.run(getattr(owner, f"a{method}")(*given))


def test_the_callbacks_of_a_call_are_told(make, call):
    """One run, with what was ranked and how, and its time."""
    runs = Runs()
    best, *_ = call(make(top_n=2), "compress_documents", documents(), QUERY, [runs])
    (run,) = runs.roots
    assert (run.name, run.run_type, run.error) == ("JinaVLLMRerank", "chain", None)
    assert run.inputs == {"query": QUERY, "ids": [each.id for each in documents()]}
    assert run.outputs["ranked"][0] == {"id": best.id, "score": best.metadata["relevance_score"]}
    assert len(run.outputs["ranked"]) == 2
    assert run.start_time <= run.end_time


def test_it_is_inside_the_run_of_who_calls(make, call):
    """Of a retriever that hands its callbacks on, and of a function in a chain that does not."""

    class Found(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return documents()

    runs, config = Runs(), {}
    retriever = ContextualCompressionRetriever(base_compressor=make(), base_retriever=Found())
    config["callbacks"] = [runs]
    call(retriever, "invoke", QUERY, config)
    assert names_of_runs(runs.roots.pop().child_runs) == ["Found", "JinaVLLMRerank"]

    reranker = make()
    function = RunnableLambda(
        lambda found: reranker.compress_documents(found, QUERY),
        afunc=lambda found: reranker.acompress_documents(found, QUERY),
    )
    call(function, "invoke", documents(), config)
    assert names_of_runs(runs.roots.pop().child_runs) == ["JinaVLLMRerank"]


def test_an_error_ends_the_run(make, call, tmp_path):
    """It is the run's, too."""
    runs = Runs()
    gone = page(str(tmp_path / "gone.png"))
    with pytest.raises(ImageNotFoundError):
        call(
            make(on_found_error="raise", allowed_image_roots=(tmp_path,)),
            "compress_documents",
            [*documents(TEXTS[:1]), gone],
            QUERY,
            [runs],
        )
    (run,) = runs.roots
    assert "gone.png" in run.error
