"""Each store of LlamaIndex's under our retriever: what it does, or which error the user gets."""

from __future__ import annotations

from uuid import uuid4

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageNode, QueryBundle, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore

from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever
from langchain_stores import COLOURS, QUERY, TEXTS
from other_llama_index_stores import ROWS
from other_stores import OTHERS_WARNINGS, in_slice

pytestmark = OTHERS_WARNINGS

BEST = "the red circle is here"


@pytest.fixture(params=in_slice(ROWS, {"simple", "chroma"}))
def row(request):
    """Return what is known of a store."""
    return request.param


@pytest.fixture
def place(place_for, row):
    """Return where its store is."""
    return place_for(row)


@pytest.fixture
def embedding(engine):
    """Return an embedding over a fake engine."""
    return JinaVLLMEmbedding(engine=engine)


@pytest.fixture
def store(row, place):
    """Return an empty store."""
    return row.make(place)


@pytest.fixture
def make(store, embedding, token_store, scans):
    """Return a maker of retrievers over the store."""
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex([], storage_context=context, embed_model=embedding)
    given = {"embedding": embedding, "token_store": token_store, "allowed_image_roots": [scans]}
    return lambda **options: JinaVLLMMultiVectorRetriever(index=index, **given, **options)


@pytest.fixture
def call(place, make):
    """Return what calls a method of a retriever, or its asynchronous twin."""
    retriever = make(similarity_top_k=9)
    return lambda method, *given: place.call(retriever, method, *given)


@pytest.fixture
def found(call):
    """Return what finds the texts for a query."""
    return lambda query=QUERY: [each.node.text for each in call("retrieve", query)]


@pytest.fixture
def run(place, store, embedding, found):
    """Return what has LlamaIndex's pipeline keep texts by names, and returns what is found afterwards."""
    kept = SimpleDocumentStore()

    def run(texts):
        pipeline = IngestionPipeline(
            transformations=[SentenceSplitter(), embedding],
            vector_store=store,
            docstore=kept,
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )
        given = [Document(text=text, id_=name, metadata={"place": 1}) for name, text in texts.items()]
        nodes = place.call(pipeline, "run", documents=given)
        return len(nodes), sorted(found())

    return run


def nodes():
    """Return nodes with ids and metadata."""
    return [TextNode(text=text, id_=str(uuid4()), metadata={"place": place}) for place, text in enumerate(TEXTS)]


def test_add(row, call, found):
    """All are found."""
    with row.cell("add"):
        call("insert_nodes", nodes())
        assert set(found()) == set(TEXTS)


def test_search_by_text(row, call):
    """The text with the most words of the query comes first, as it was, with its score."""
    given = nodes()
    call("insert_nodes", given)
    with row.cell("text"):
        best = call("retrieve", QUERY)[0]
        assert (best.node.text, best.node.node_id, best.node.metadata) == (BEST, given[1].node_id, {"place": 1})
        assert best.score > 0


def test_search_by_image(row, call, scans):
    """A picture finds the page that shows it, among texts."""
    pages = [
        ImageNode(text=colour, image_path=str(scans / f"{colour}.png"), id_=str(uuid4()), metadata={"place": 9})
        for colour in COLOURS
    ]
    call("insert_nodes", [*pages, *nodes()])
    with row.cell("image"):
        for colour in ("green", "blue"):
            best = call("retrieve", QueryBundle(query_str="", image_path=str(scans / f"{colour}.png")))[0]
            assert best.node.text == colour
            assert best.score == pytest.approx(1, abs=1e-3)


def test_filter(row, call, place, make):
    """Only what fits is found."""
    call("insert_nodes", nodes())
    with row.cell("filter"):
        assert [each.node.text for each in place.call(make(**row.only), "retrieve", QUERY)] == [TEXTS[2]]


def test_delete(row, call, found):
    """What was deleted by its id is found no more, and all else is."""
    given = nodes()
    call("insert_nodes", given)
    with row.cell("delete"):
        call("delete_nodes", [given[0].node_id])
        assert set(found()) == set(TEXTS[1:])


def test_replace(row, call, found):
    """What is inserted under an id that is there takes its place."""
    (given, *_) = nodes()
    call("insert_nodes", [given])
    with row.cell("replace"):
        call("insert_nodes", [TextNode(text="quite another text", id_=given.node_id, metadata={"place": 7})])
        assert found() == ["quite another text"]


def test_pipeline_unchanged(row, run):
    """A second run adds nothing."""
    with row.cell("unchanged"):
        assert run({"a": TEXTS[0], "b": TEXTS[1]}) == (2, sorted(TEXTS[:2]))
        assert run({"a": TEXTS[0], "b": TEXTS[1]}) == (0, sorted(TEXTS[:2]))


def test_pipeline_changed(row, run):
    """What has changed takes the place of what it was."""
    with row.cell("changed"):
        run({"a": TEXTS[0], "b": TEXTS[1]})
        assert run({"a": TEXTS[2], "b": TEXTS[1]}) == (1, sorted(TEXTS[1:3]))


def test_pipeline_removed(row, run):
    """What is no longer given is deleted."""
    with row.cell("removed"):
        run({"a": TEXTS[0], "b": TEXTS[1]})
        assert run({"b": TEXTS[1]}) == (0, [TEXTS[1]])


def test_get(row, call, store, place):
    """The store's own look-up, by ids, as they were."""
    given = nodes()
    call("insert_nodes", given)
    with row.cell("get"):
        ids = [given[0].node_id, given[2].node_id]
        found = place.call(store, "get_nodes", ids)
        assert {each.node_id: each.text for each in found} == dict(zip(ids, (TEXTS[0], TEXTS[2]), strict=True))
