"""What LangChain's tracers see of a search: each stage is a run with its time."""

from __future__ import annotations

import asyncio
import json

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import collect_runs
from langchain_core.vectorstores import InMemoryVectorStore

from fake_engines import DyingEngine
from jina_vllm_integrations import EngineDiedError, ImageInput, ImageNotFoundError
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from langchain_runs import Runs, names_of_runs
from langchain_stores import QUERY, TEXTS, documents, page

STAGES = ["embed query", "find", "rank"]


def test_each_stage_is_a_run(retriever, call):
    """Whatever the store: one after the other, inside the retriever's own, with ids and scores."""
    call(retriever, "add_documents", documents())
    runs = Runs()
    found = call(retriever, "invoke", QUERY, {"callbacks": [runs], "tags": ["mine"]}, k=2)
    (root,) = runs.roots
    assert root.run_type == "retriever"
    assert names_of_runs(root.child_runs) == (["find and rank"] if retriever.index is not None else STAGES)
    times = [time for run in root.child_runs for time in (run.start_time, run.end_time)]
    assert [root.start_time, *times, root.end_time] == sorted([root.start_time, *times, root.end_time])
    assert all(run.inputs["query"] == QUERY and "mine" in run.tags for run in root.child_runs)
    expected = [{"id": each.id, "score": each.metadata["relevance_score"]} for each in found]
    assert root.child_runs[-1].outputs == {"ranked": expected}
    if retriever.index is None:
        embedded, finding, ranking = root.child_runs
        assert embedded.outputs["dimensions"] == 64
        assert set(finding.outputs["ids"]) == {each.id for each in documents()}
        assert ranking.inputs["ids"] == finding.outputs["ids"]


def test_an_images_bytes_are_in_no_stage(make, scans, call):
    """A run says which image was searched for, and is small enough to be sent."""
    retriever = make()
    call(retriever, "add_documents", [page(scans / "red.png")])
    runs = Runs()
    call(retriever, "invoke", ImageInput((scans / "red.png").read_bytes()), {"callbacks": [runs]})
    for run in runs.roots[0].child_runs:
        assert run.inputs["query"].startswith("image:")
        assert len(json.dumps([run.inputs, run.outputs])) < 1000


def test_a_stage_that_fails_ends_with_its_error(make, scans, call):
    """So a trace shows which it was; later stages have no run."""
    retriever = make(on_found_error="raise")
    call(retriever, "add_documents", [page(scans / "red.png")])
    retriever.vectorstore.store.update(
        {
            key: {**each, "metadata": {"image_uri": str(scans / "gone.png")}}
            for key, each in retriever.vectorstore.store.items()
        }
    )
    runs = Runs()
    with pytest.raises(ImageNotFoundError):
        call(retriever, "invoke", QUERY, {"callbacks": [runs]})
    (root,) = runs.roots
    assert [run.error is not None for run in root.child_runs] == [False, False, True]
    assert "gone.png" in root.child_runs[-1].error
    assert root.child_runs[-1].end_time is not None

    runs = Runs()
    embeddings = JinaVLLMEmbeddings(engine=DyingEngine(0))
    with pytest.raises(EngineDiedError):
        call(JinaVLLMRetriever(vectorstore=InMemoryVectorStore(embeddings)), "invoke", QUERY, {"callbacks": [runs]})
    (only,) = runs.roots[0].child_runs
    assert (only.name, "died" in only.error) == ("embed query", True)


def test_a_cancelled_search_ends_its_stage(make, engine):
    """Its run does not stay open."""

    async def cancelled():
        retriever, runs = make(), Runs()
        engine.may_go_on.clear()
        search = asyncio.create_task(retriever.ainvoke(QUERY, {"callbacks": [runs]}))
        await asyncio.to_thread(engine.at_work.wait, 30)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        engine.may_go_on.set()
        return runs

    runs = asyncio.run(cancelled())
    (root,) = runs.run_map.values()  # the retriever's own, which LangChain leaves open
    (stage,) = root.child_runs
    assert (stage.name, "CancelledError" in stage.error) == ("embed query", True)


def test_events_are_streamed(make):
    """The start and the end of each stage, with what it found."""
    retriever = make()
    retriever.add_documents(documents())

    async def streamed():
        return [event async for event in retriever.astream_events(QUERY, version="v2")]

    events = [event for event in asyncio.run(streamed()) if event["name"] in STAGES]
    assert [(event["event"], event["name"]) for event in events] == [
        (f"on_chain_{when}", name) for name in STAGES for when in ("start", "end")
    ]
    assert len(events[-1]["data"]["output"]["ranked"]) == len(TEXTS)


def test_a_search_in_a_chain_is_told_of(make, call):
    """The retriever's run is inside the chain's, and the stages inside the retriever's, collected ones too."""
    retriever, runs = make(), Runs()
    retriever.add_documents(documents())
    call(RunnableLambda(lambda question: question) | retriever, "invoke", QUERY, {"callbacks": [runs]})
    assert names_of_runs(runs.roots[0].child_runs[-1].child_runs) == STAGES
    with collect_runs() as collected:
        call(retriever, "invoke", QUERY)
    (root,) = collected.traced_runs
    assert names_of_runs(root.child_runs) == STAGES


def test_what_a_store_runs_is_inside_the_stage(embeddings, token_store, call):
    """A store or retriever that is made of runnables shows in the trace where it works."""

    class Store(InMemoryVectorStore):
        def similarity_search_by_vector(self, embedding, k=4, **options):
            return RunnableLambda(lambda _: super(Store, self).similarity_search_by_vector(embedding, k)).invoke(
                "look up"
            )

    retriever = JinaVLLMRetriever(vectorstore=Store(embeddings), token_store=token_store)
    retriever.add_documents(documents())
    runs = Runs()
    call(retriever, "invoke", QUERY, {"callbacks": [runs]})
    (root,) = runs.roots
    _, finding, ranking = root.child_runs
    assert len(finding.child_runs) == 1
    assert ranking.child_runs == []
