"""The LlamaIndex retriever: any vector store and Qdrant, texts and pages, found in two stages."""

from __future__ import annotations

import asyncio
import base64
import copy
import threading

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import LLMMetadata
from llama_index.core.llms.mock import MockLLMWithChatMemoryOfLastCall
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import ImageDocument, ImageNode, MediaResource, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, SimpleVectorStore
from qdrant_client import models

from jina_vllm_integrations import (
    ImageError,
    ImageNotFoundError,
    ItemTypeError,
    JinaEncoder,
    OptionError,
    StoreFormatError,
    TokenStore,
)
from jina_vllm_integrations.demo import demo_corpus
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from jina_vllm_integrations.llama_index import (
    JinaVLLMEmbedding,
    JinaVLLMMultiVectorRetriever,
    PageImageReader,
    create_page_search_tool,
)
from jina_vllm_integrations.qdrant import QdrantIndex
from llama_index_stores import STORES, chroma_store, over, qdrant_store, simple_store
from pictures import scans_of

TEXTS = ["ein blaues Quadrat", "the red circle is here", "nothing of the kind", "noch ein Satz"]
QUERY = "where is the red circle"
COLOURS = ("red", "green", "blue", "white")


@pytest.fixture
def embedding(engine):
    """Return an embedding over it."""
    return JinaVLLMEmbedding(engine=engine)


@pytest.fixture
def scans(tmp_path):
    """Return a folder with a page of each colour."""
    return scans_of(tmp_path, COLOURS)


@pytest.fixture
def make(embedding, engine, token_store, scans, tmp_path):
    """Return a maker of retrievers over a kind of store, or over a `QdrantIndex`."""

    def make(store=simple_store, **options):
        if store is QdrantIndex:
            options["qdrant"] = QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:")
        else:
            stages = {"index": over(store(tmp_path), embedding), "embedding": embedding, "token_store": token_store}
            options = {**stages, **options}
        return JinaVLLMMultiVectorRetriever(**{"allowed_image_roots": (scans,), **options})

    return make


def nodes(texts=TEXTS):
    """Return text nodes with ids and metadata that is not embedded."""
    return [
        TextNode(
            id_=f"00000000-0000-0000-0000-{index:012}",
            text=text,
            metadata={"place": index},
            excluded_embed_metadata_keys=["place"],
        )
        for index, text in enumerate(texts)
    ]


def image_query(path):
    """Return a query by an image."""
    return QueryBundle(query_str="", image_path=str(path))


def texts(found):
    """Return what was found."""
    return [each.node.get_content() for each in found]


@pytest.mark.filterwarnings(
    r"ignore:table_names\(\) is deprecated:DeprecationWarning",  # of LanceDB, which LlamaIndex calls
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning",  # which LlamaIndex makes
)
@pytest.mark.parametrize("store", [*STORES, QdrantIndex], ids=lambda store: store.__name__)
def test_texts_and_pages_are_found_together(request, make, scans, store, call):
    """Whatever the store: a text finds texts, an image finds its like, and what is deleted is gone."""
    if store is qdrant_store and request.node.callspec.params["call"] == "async":
        pytest.skip("LlamaIndex's store wants a second client for that, and two cannot share an embedded Qdrant")
    retriever = make(store, similarity_top_k=3)
    pages = [document for path in sorted(scans.iterdir()) for document in PageImageReader().load_data(path)]
    call(retriever, "insert_nodes", [*nodes(), *pages])

    best, *others = call(retriever, "retrieve", QUERY)
    assert (best.node.get_content(), best.node.node_id) == (TEXTS[1], nodes()[1].node_id)
    assert best.node.metadata["place"] == 1
    assert type(best.score) is float
    assert [best, *others] == sorted([best, *others], key=lambda each: -each.score)

    for colour in ("green", "blue"):
        found, *_ = call(retriever, "retrieve", image_query(scans / f"{colour}.png"))
        assert found.node.get_content() == f"[page 1 of scans/{colour}.png]"
        assert found.node.metadata["image_uri"] == str(scans / f"{colour}.png")
        assert found.score == pytest.approx(1, abs=1e-3)

    call(retriever, "delete_nodes", [nodes()[1].node_id])
    assert TEXTS[1] not in texts(call(retriever, "retrieve", QUERY))


def test_everything_is_computed_once(make, engine, scans, call):
    """Inserting takes one forward pass a node, searching one for the query."""
    retriever = make()
    call(retriever, "insert_nodes", [*nodes(), ImageNode(image_path=str(scans / "red.png"))])
    assert sum(engine.batches) == 5
    engine.batches.clear()
    call(retriever, "retrieve", QUERY)
    assert engine.batches == [1]


def test_any_retriever_may_be_the_first_stage(embedding, token_store, call):
    """Here an index that was made before, whose nodes were embedded by the same model."""
    index = VectorStoreIndex(nodes(), embed_model=embedding)
    retriever = JinaVLLMMultiVectorRetriever(
        retriever=index.as_retriever(similarity_top_k=4), embedding=embedding, token_store=token_store
    )
    assert texts(call(retriever, "retrieve", QUERY))[0] == TEXTS[1]
    with pytest.raises(OptionError, match=r"the first stage is a VectorIndexRetriever\. Pass index="):
        call(retriever, "insert_nodes", nodes())


def test_of_what_a_retriever_finds_so_many_are_ranked(embedding, call):
    """The first ``fetch_k``, or all; of an index there is no "all"."""
    many = [*nodes([f"the red circle {number}" for number in range(60)]), TextNode(text=QUERY)]

    class All(BaseRetriever):
        def _retrieve(self, query_bundle):
            return [NodeWithScore(node=node) for node in many]

    few, everything = (
        JinaVLLMMultiVectorRetriever(retriever=All(), embedding=embedding, fetch_k=number, similarity_top_k=1)
        for number in (60, None)
    )
    assert texts(call(few, "retrieve", QUERY)) != [QUERY]
    assert texts(call(everything, "retrieve", QUERY)) == [QUERY]
    with pytest.raises(OptionError, match="fetch_k must be a whole number with index="):
        JinaVLLMMultiVectorRetriever(
            index=VectorStoreIndex([], embed_model=embedding), embedding=embedding, fetch_k=None
        )


@pytest.mark.parametrize("store", [simple_store, chroma_store], ids=lambda store: store.__name__)
def test_what_is_unlike_is_found(embedding, tmp_path, store, call):
    """By a retriever of LlamaIndex's with another way to search the index."""
    index = over(store(tmp_path), embedding)
    alike = ["the red circle is here", "here the red circle is", "is the red circle here"]
    other = "nothing of the kind"
    JinaVLLMMultiVectorRetriever(index=index, embedding=embedding).insert_nodes(nodes([*alike, other]))

    def found(**options):
        first = VectorIndexRetriever(index, similarity_top_k=2, **options)
        return texts(call(JinaVLLMMultiVectorRetriever(retriever=first, embedding=embedding), "retrieve", QUERY))

    assert other not in found()
    best, last = found(vector_store_query_mode="mmr", vector_store_kwargs={"mmr_threshold": 0.1})
    assert best in alike
    assert last == other


def test_options(make, call):
    """The number, the filters and the threshold."""
    only = MetadataFilters(filters=[MetadataFilter(key="place", value=2)])
    retriever = make(similarity_top_k=2)
    call(retriever, "insert_nodes", nodes())
    best, _ = call(retriever, "retrieve", QUERY)
    retriever.filters = only
    assert texts(call(retriever, "retrieve", QUERY)) == [TEXTS[2]]
    retriever.filters, retriever.score_threshold = None, best.score
    assert len(call(retriever, "retrieve", QUERY)) == 1
    retriever.similarity_top_k, retriever.fetch_k, retriever.score_threshold = 4, 1, None
    assert len(call(retriever, "retrieve", QUERY)) == 4


def test_qdrant_filters_by_metadata(make, call):
    """A filter of Qdrant's own."""
    only = models.Filter(must=[models.FieldCondition(key="place", match=models.MatchValue(value=2))])
    retriever = make(QdrantIndex, filters=only)
    call(retriever, "insert_nodes", nodes())
    assert texts(call(retriever, "retrieve", QUERY)) == [TEXTS[2]]


@pytest.mark.parametrize("store", [simple_store, QdrantIndex], ids=lambda store: store.__name__)
def test_images_survive_in_every_shape(make, scans, store, call):
    """Bytes in a document, bytes in a node, a path: each comes back as an image node with its image."""
    content = (scans / "red.png").read_bytes()
    retriever = make(store)
    given = [
        ImageDocument(image_resource=MediaResource(data=content), text_resource=MediaResource(text="a document")),
        ImageNode(image=base64.b64encode(content).decode(), text="a node"),
        ImageDocument(image_resource=MediaResource(path=scans / "red.png"), text_resource=MediaResource(text="a path")),
    ]
    call(retriever, "insert_nodes", given)
    found = call(retriever, "retrieve", image_query(scans / "red.png"))
    assert sorted(texts(found)) == ["a document", "a node", "a path"]
    assert {type(each.node) for each in found} == {ImageNode}
    assert all(each.node.image or each.node.image_path for each in found)
    assert all(each.score == pytest.approx(1, abs=1e-3) for each in found)


def test_nobodys_nodes_are_changed(make, call):
    """Neither those that come nor those that are kept, nor the query."""
    retriever = make()
    given = nodes()
    before = copy.deepcopy(given)
    call(retriever, "insert_nodes", given)
    assert given == before
    bundle = QueryBundle(QUERY)
    found, *_ = call(retriever, "retrieve", bundle)
    assert bundle == QueryBundle(QUERY)
    found.node.metadata["mine"] = 1
    assert "mine" not in call(retriever, "retrieve", QUERY)[0].node.metadata


def test_a_bad_node_is_named_before_any_work(make, engine, scans, call):
    """Its image outside the roots; and one node in place of several."""
    retriever = make()
    with pytest.raises(ImageError, match="image_path must be inside allowed_image_roots") as caught:
        call(retriever, "insert_nodes", [TextNode(text="a"), ImageNode(image_path="/etc/hostname.png")])
    assert caught.value.index == 1
    with pytest.raises(ItemTypeError, match="item 1: what is inserted is a node, got str 'a text'"):
        call(retriever, "insert_nodes", [TextNode(text="a"), "a text"])
    with pytest.raises(ItemTypeError, match=r"Write \[node\]"):
        call(retriever, "insert_nodes", TextNode(text="a"))
    assert engine.batches == []


def test_a_page_that_is_gone_is_named_by_its_id(make, scans, call):
    """A search that found it says which node it is, where that was chosen."""
    retriever = make(on_found_error="raise", token_store=None)
    retriever.insert_nodes([ImageNode(id_="page 7", image_path=str(scans / "red.png"))])
    (scans / "red.png").unlink()
    with pytest.raises(ImageNotFoundError) as caught:
        call(retriever, "retrieve", QUERY)
    assert caught.value.index is None
    assert any("page 7" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, "one of index, retriever and qdrant must be given, got 0"),
        ({"index": True, "qdrant": True}, "got 2"),
        ({"index": True}, "embedding must be given"),
        ({"qdrant": True, "token_store": True}, "qdrant= has its own"),
        (
            {"retriever": True, "embedding": True, "similarity_top_k": 0},
            "similarity_top_k must be a whole number",
        ),
    ],
)
def test_options_that_do_not_fit(options, rule):
    """Are refused when it is made."""
    with pytest.raises(OptionError, match=rule):
        JinaVLLMMultiVectorRetriever(**options)


class ChatLLM(MockLLMWithChatMemoryOfLastCall):
    """Remembers what it was shown."""

    @property
    def metadata(self):
        """Say that it chats."""
        return LLMMetadata(is_chat_model=True)


def test_one_folder_in_place_of_several_is_refused(make):
    """Its characters are no folders, of which one would be the whole disk."""
    for name in ("allowed_image_roots", "image_keys"):
        with pytest.raises(OptionError, match=f"{name} must be several, got one, '/data/scans'"):
            make(**{name: "/data/scans"})


def test_filters_that_would_be_ignored_are_refused(embedding, call):
    """A retriever as the first stage filters by itself."""
    first = VectorStoreIndex(nodes(), embed_model=embedding).as_retriever()
    only = MetadataFilters(filters=[MetadataFilter(key="place", value=2)])
    retriever = JinaVLLMMultiVectorRetriever(retriever=first, embedding=embedding, filters=only)
    with pytest.raises(OptionError, match="filters go with index="):
        call(retriever, "retrieve", QUERY)


def test_an_index_of_another_model_is_refused(embedding, engine):
    """As is one of another size."""
    for other in (MockEmbedding(8), JinaVLLMEmbedding(engine=engine, dimensions=16)):
        with pytest.raises(OptionError, match="the index must embed as embedding= does"):
            JinaVLLMMultiVectorRetriever(index=VectorStoreIndex([], embed_model=other), embedding=embedding)


def test_other_texts_find_where_somebody_said_so(make, call):
    """LlamaIndex's HyDE finds by a text that it made up; what was found is ranked by the question."""
    retriever = make(similarity_top_k=1, fetch_k=1)
    retriever.insert_nodes(nodes())
    hyde = QueryBundle(QUERY, custom_embedding_strs=[TEXTS[2]])
    assert texts(call(retriever, "retrieve", hyde)) == [TEXTS[2]]
    assert texts(call(retriever, "retrieve", QUERY)) == [TEXTS[1]]


def test_points_of_others_in_qdrant(engine, call):
    """Are named, and not mistaken for nodes."""
    qdrant = QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:")
    (point,) = qdrant.upsert([QUERY], payloads=[{"mine": 1}])
    with pytest.raises(StoreFormatError, match=f"{point} has none"):
        call(JinaVLLMMultiVectorRetriever(qdrant=qdrant), "retrieve", QUERY)


def test_nodes_come_and_go_while_a_store_in_memory_is_searched(make):
    """Its search leaves the event loop free, bears new nodes beside it, and finds none that is deleted meanwhile."""
    begun, may_end = threading.Event(), threading.Event()

    class Waiting(SimpleVectorStore):
        def query(self, query, **options):
            begun.set()
            assert may_end.wait(30)
            return super().query(query, **options)

    async def searched():
        retriever = make(lambda _: Waiting(), similarity_top_k=9)
        best, new, *others = nodes()
        await retriever.ainsert_nodes([best, *others])
        searching = asyncio.create_task(retriever.aretrieve(best.text))
        assert await asyncio.to_thread(begun.wait, 30)
        await retriever.ainsert_nodes([new])
        await retriever.adelete_nodes([best.node_id])
        may_end.set()
        return texts(await searching), texts(await retriever.aretrieve(best.text)), others, new

    found, then, others, new = asyncio.run(searched())
    assert sorted(found) == sorted(each.text for each in others)
    assert sorted(then) == sorted(each.text for each in [*others, new])


def test_in_a_query_engine(make, scans, call):
    """LlamaIndex's own multimodal engine takes what is found, images too."""
    retriever = make(similarity_top_k=5)
    retriever.insert_nodes([*nodes(), *PageImageReader().load_data(scans / "red.png")])
    llm = ChatLLM()
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm, multimodal=True)
    response = call(engine, "query", QUERY)
    assert response.source_nodes[0].node.get_content() == TEXTS[1]
    blocks = [block for message in llm.last_chat_messages for block in message.blocks]
    assert "image" in {block.block_type for block in blocks}


def test_an_agents_tool_gets_as_many_as_it_asks_for(make, scans):
    """It reads the retriever's own folders, and shows its pages."""
    retriever = make(similarity_top_k=1)
    retriever.insert_nodes([page for path in sorted(scans.iterdir()) for page in PageImageReader().load_data(path)])
    output = create_page_search_tool(retriever, k=3)(query="a page")
    assert [block.block_type for block in output.blocks] == ["text", "image"] * 3
    assert retriever.similarity_top_k == 1


def test_both_frameworks_find_the_same(demo_vllm, tmp_path):
    """One core, two doors: on the demo's corpus the vectors, the order and the scores are those of LangChain's side."""
    corpus = demo_corpus()
    pictures = [document.path for document in corpus.documents]
    root = (pictures[0].parent,)
    embedding, embeddings = JinaVLLMEmbedding(engine=demo_vllm), JinaVLLMEmbeddings(engine=demo_vllm)
    np.testing.assert_allclose(
        embedding.get_image_embedding_batch([str(path) for path in pictures[:4]]),
        embeddings.embed_images(pictures[:4]),
        rtol=0,
        atol=1e-5,
    )
    with TokenStore(tmp_path / "vectors") as store:
        ours = JinaVLLMMultiVectorRetriever(
            index=VectorStoreIndex([], embed_model=embedding),
            embedding=embedding,
            token_store=store,
            similarity_top_k=5,
            allowed_image_roots=root,
        )
        ours.insert_nodes([ImageNode(id_=path.name, image_path=str(path)) for path in pictures])
        theirs = JinaVLLMRetriever(
            vectorstore=InMemoryVectorStore(embeddings), token_store=store, k=5, allowed_image_roots=root
        )
        theirs.add_images(pictures, ids=[path.name for path in pictures])
        for query in corpus.queries:
            found = [(each.node.node_id, each.score) for each in ours.retrieve(query.text)]
            expected = [(each.id, each.metadata["relevance_score"]) for each in theirs.invoke(query.text)]
            assert [name for name, _ in found] == [name for name, _ in expected]
            np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-5)
            assert found[0][0] in query.answers


def test_scores_are_json(make):
    """As LlamaIndex's traces and servers need."""
    retriever = make()
    retriever.insert_nodes(nodes())
    (found, *_) = retriever.retrieve(QUERY)
    assert isinstance(found, NodeWithScore)
    assert float(found.model_dump(mode="json")["score"]) == found.score


@pytest.mark.parametrize("store", [simple_store, chroma_store, QdrantIndex], ids=lambda store: store.__name__)
def test_bad_nodes_are_skipped_by_their_ids(make, store, scans, call, caplog):
    """Whatever is wrong with them; the others are found, and what comes back says who is missing and why."""
    nodes = [
        TextNode(text="a page", metadata={"image_uri": str(scans / "red.png")}),
        TextNode(text="a page", metadata={"image_uri": str(scans / "missing.png")}),
        TextNode(text=" "),
        TextNode(text="a page", metadata={"image_uri": "/etc/passwd"}),
        TextNode(text="the red circle is here"),
    ]
    retriever = make(store)
    skipped = call(retriever, "insert_nodes", nodes, on_error="skip")
    assert [(each.index, each.name) for each in skipped] == [(at, nodes[at].node_id) for at in (1, 2, 3)]
    assert all(f"skipped {each.name}: " in caplog.text for each in skipped)
    assert {found.node.node_id for found in call(retriever, "retrieve", QUERY)} == {nodes[0].node_id, nodes[4].node_id}
    assert call(retriever, "insert_nodes", nodes[:1]) == []
