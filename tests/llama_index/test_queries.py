"""What is searched for comes as chains and agents have it."""

from __future__ import annotations

import asyncio
import base64
import io

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from PIL import Image

from jina_vllm_integrations import (
    ImageInput,
    ImageNotFoundError,
    ItemTypeError,
    JinaEncoder,
    LateInteractionReranker,
    TextImageQuery,
)
from jina_vllm_integrations.llama_index import (
    JinaVLLMEmbedding,
    JinaVLLMMultiVectorRetriever,
    JinaVLLMRerank,
    query_bundle,
)
from jina_vllm_integrations.qdrant import QdrantIndex
from pictures import png

TEXTS = ["ein blaues Quadrat", "the red circle is here", "nothing of the kind"]
QUERY = "where is the red circle"
NODES = [TextNode(text=text, id_=text) for text in TEXTS]
IMAGE = png("green")
BUNDLE = QueryBundle(QUERY, image_path=f"data:;base64,{base64.b64encode(IMAGE).decode()}")


@pytest.fixture(params=["index", "qdrant"])
def retriever(request, engine):
    """Return a retriever of texts, with two stages of each kind."""
    if request.param == "qdrant":
        index = QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:")
        retriever = JinaVLLMMultiVectorRetriever(qdrant=index)
    else:
        embedding = JinaVLLMEmbedding(engine=engine)
        index = VectorStoreIndex([], embed_model=embedding)
        retriever = JinaVLLMMultiVectorRetriever(index=index, embedding=embedding)
    retriever.insert_nodes(NODES)
    return retriever


@pytest.fixture(params=["sync", "async"])
def found(request):
    """Return what retrieves, or reranks, and returns texts and scores, in both ways."""

    def found(finder, query):
        reranks = isinstance(finder, JinaVLLMRerank)
        given = ([NodeWithScore(node=node) for node in NODES], query) if reranks else (query,)
        method = "postprocess_nodes" if reranks else "retrieve"
        if request.param == "async":
            nodes = asyncio.run(getattr(finder, f"a{method}")(*given))
        else:
            nodes = getattr(finder, method)(*given)
        return [(each.node.text, pytest.approx(each.score, abs=1e-5)) for each in nodes]

    return found


def test_a_text_and_an_image_together(retriever, engine, encoder, found):
    """Are one query of both, whose score is the mean of both halves' means, for retrievers and rerankers."""
    halves = [{each.index: each.score for each in _ranked(encoder, half)} for half in (QUERY, IMAGE)]
    expected = sorted(((sum(half[at] for half in halves) / 2, text) for at, text in enumerate(TEXTS)), reverse=True)
    block, text = ImageBlock(image=IMAGE), TextBlock(text=QUERY)
    queries = [
        BUNDLE,
        TextImageQuery(QUERY, IMAGE),
        TextImageQuery(QUERY, io.BytesIO(IMAGE)),
        TextImageQuery(QUERY, Image.open(io.BytesIO(IMAGE))),
        ChatMessage(role="user", blocks=[text, block]),
        [ChatMessage(role="user", blocks=[block, text])],
        [block, QUERY],
    ]
    for finder in (retriever, JinaVLLMRerank(engine=engine)):
        for query in queries:
            assert found(finder, query) == [(text, score) for score, text in expected]


def _ranked(encoder, query):
    return LateInteractionReranker(encoder, normalize="mean").rerank(query, TEXTS)


def test_one_text_or_one_image(retriever, engine, found):
    """In a message or its blocks, is that text or image; a blank text beside an image is none."""
    uri = BUNDLE.image_path
    text, image = QueryBundle(QUERY), QueryBundle("", image_path=uri)
    alike = [
        (text, [QUERY, ChatMessage(QUERY), TextBlock(text=QUERY), [QUERY], (ChatMessage(QUERY),)]),
        (image, [ImageBlock(image=IMAGE), [ImageBlock(url=uri)], ImageInput(uri), QueryBundle(" ", image_path=uri)]),
    ]
    for finder in (retriever, JinaVLLMRerank(engine=engine)):
        for bundle, queries in alike:
            expected = found(finder, bundle)
            for query in queries:
                assert found(finder, query) == expected


def test_a_message_as_a_query_str(engine):
    """Rerankers take it there, too."""
    nodes = [NodeWithScore(node=node) for node in NODES]
    reranker = JinaVLLMRerank(engine=engine)
    first, second = (reranker.postprocess_nodes(nodes, query_str=query) for query in (QUERY, ChatMessage(QUERY)))
    assert first == second


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"question": "train"}, r'Pass the question itself: given\["question"\]'),
        ({}, "got a dict of nothing"),
        ([ChatMessage("a"), ChatMessage("b")], r"one message, got 2. Pass messages\[-1\]"),
        (["a", "b"], "one of each, got 2 parts with 2 texts and 0 images"),
        ([], "one of each, got 0 parts"),
        (7, "got int 7"),
        (None, "got NoneType"),
        (TextImageQuery("a", 7), "got int 7"),
    ],
)
def test_what_is_no_query(retriever, found, query, message):
    """The error names the rule, and blames no position."""
    with pytest.raises(ItemTypeError, match=message) as caught:
        found(retriever, query)
    assert caught.value.index is None


def test_a_bad_half(retriever, found):
    """The error says which it is."""
    with pytest.raises(ImageNotFoundError, match=r"^the query's image: ") as caught:
        found(retriever, QueryBundle(QUERY, image_path="nowhere.png"))
    assert caught.value.index is None


def test_a_call_is_traced_once(retriever, found):
    """Whatever it was asked by, LlamaIndex's traces have one span of it."""
    spans = SimpleSpanHandler()
    root = get_dispatcher()
    root.add_span_handler(spans)
    found(retriever, ChatMessage(QUERY))
    root.span_handlers.remove(spans)
    names = [span.id_.split("-")[0] for span in spans.completed_spans]
    assert sum(name.startswith("JinaVLLM") and name.endswith(("r.retrieve", "r.aretrieve")) for name in names) == 1


def test_a_bundle_for_a_whole_query_engine():
    """Is plain LlamaIndex: strings alone."""
    assert query_bundle([QUERY, ImageBlock(image=IMAGE)]) == BUNDLE
    assert query_bundle(BUNDLE) is BUNDLE
