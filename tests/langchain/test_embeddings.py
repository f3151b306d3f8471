"""LangChain's embeddings: its standard suites, images in every shape, and the traps that others stepped into."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.load import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.messages.content import create_image_block
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from PIL import Image
from pydantic import ValidationError

import jina_vllm_integrations.langchain
from engine_options import ENGINE_OPTIONS
from fake_engines import DyingEngine, GatheringEngine
from jina_vllm_integrations import (
    CheckpointError,
    EmptyTextError,
    EngineClosedError,
    EngineDiedError,
    ImageAddressError,
    ImageFormatError,
    ImageInput,
    ImageLimits,
    ImageNotFoundError,
    ImageSizeError,
    InputError,
    ItemTypeError,
    JinaEncoder,
    MissingExtraError,
    OptionError,
    TextInput,
    TextTooLongError,
)
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings
from jina_vllm_integrations.langchain.images import image_item
from jina_vllm_integrations.testing import FakeEngine
from pictures import data_uri, in_base64, saved

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}

# The suites have coroutines beside functions, and pytest-asyncio warns of a mark on the latter.
runs_coroutines = pytest.mark.asyncio
no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)


@pytest.fixture
def embeddings(engine):
    """Return embeddings over it."""
    return JinaVLLMEmbeddings(engine=engine)


@pytest.fixture
def red(tmp_path):
    """Return the path of a red picture."""
    return saved(tmp_path / "red.png", "red")


class TestUnit(EmbeddingsUnitTests):
    """LangChain's standard tests of construction."""

    @property
    def embeddings_class(self):
        """What is tested."""
        return JinaVLLMEmbeddings

    @property
    def embedding_model_params(self):
        """How it is made: without a file, a download or an engine."""
        return {"model": "jinaai/jina-embeddings-v4-vllm-retrieval"}


@runs_coroutines
@no_warning_of_functions
class TestFake(EmbeddingsIntegrationTests):
    """LangChain's standard tests, on the fake engine."""

    @pytest.fixture(autouse=True)
    def _engine(self, engine):
        self.engine = engine

    @property
    def embeddings_class(self):
        """What is tested."""
        return JinaVLLMEmbeddings

    @property
    def embedding_model_params(self):
        """How it is made."""
        return {"engine": self.engine}


@runs_coroutines
@no_warning_of_functions
class TestVLLM(EmbeddingsIntegrationTests):
    """LangChain's standard tests, on a vLLM that the embeddings ask for themselves: the session's."""

    @pytest.fixture(autouse=True)
    def _checkpoint(self, vllm_engine, checkpoint):
        self.checkpoint = checkpoint

    @property
    def embeddings_class(self):
        """What is tested."""
        return JinaVLLMEmbeddings

    @property
    def embedding_model_params(self):
        """How it is made."""
        return {"model": self.checkpoint, "engine_options": ENGINE_OPTIONS}

    def test_texts_and_images_are_the_encoders(self, model, vllm_engine, red):
        """Every way to embed gives the encoder's vectors."""
        encoder = JinaEncoder(vllm_engine, task="retrieval")
        with model:
            documents = model.embed_multimodal(["ein Text", red])
            np.testing.assert_allclose(documents, encoder.embed(["ein Text", red], role="document"), **SAME)
            np.testing.assert_allclose(model.embed_image(uris=[str(red)]), documents[1:], **SAME)
            np.testing.assert_allclose(
                model.embed_query("ein Text"), encoder.embed(["ein Text"], role="query")[0], **SAME
            )

    async def test_a_store_is_filled_and_searched_at_once(self, model):
        """Fifty searches in one running loop each find their own document."""
        store = InMemoryVectorStore(model)
        texts = [f"Absatz {number} über {'Berge' * number}" for number in range(50)]
        await store.aadd_texts(texts)
        found = await asyncio.gather(*(store.asimilarity_search(text, k=1) for text in texts))
        assert len(found) == 50
        await model.aclose()


def test_documents_and_queries_have_their_own_prompts(embeddings, encoder):
    """A text has another vector as a query than as a document, each the encoder's."""
    (document,) = embeddings.embed_documents(["a red circle"])
    query = embeddings.embed_query("a red circle")
    np.testing.assert_array_equal(document, encoder.embed(["a red circle"], role="document")[0])
    np.testing.assert_array_equal(query, encoder.embed(["a red circle"], role="query")[0])
    assert document != query


def test_text_matching_has_one_prompt(engine):
    """The task decides: text matching compares like with like."""
    embeddings = JinaVLLMEmbeddings(engine=engine, task="text-matching")
    assert embeddings.embed_documents(["ein Text"]) == [embeddings.embed_query("ein Text")]


def test_vectors_are_lists_of_python_floats(embeddings, red):
    """No NumPy scalar leaves: stores serialise what they get."""

    async def coroutines():
        return [
            await embeddings.aembed_query("a"),
            *await embeddings.aembed_documents(["a"]),
            await embeddings.aembed_image(red),
            *await embeddings.aembed_multimodal([red]),
        ]

    vectors = [
        embeddings.embed_query("a"),
        *embeddings.embed_documents(["a"]),
        embeddings.embed_image(red),
        *embeddings.embed_multimodal([red]),
        *asyncio.run(coroutines()),
    ]
    assert len(vectors) == 8
    assert all(type(vector) is list and {type(number) for number in vector} == {float} for vector in vectors)


def test_line_breaks_stay(embeddings):
    """Code and markdown are embedded as they are, not with spaces for line breaks."""
    assert embeddings.embed_query("a\nb") != embeddings.embed_query("a b")


def test_synchronous_and_asynchronous_agree(embeddings, red):
    """Every method's twin returns the same."""
    mixed = ["ein Text", red, {"type": "text", "text": "noch einer"}]

    async def coroutines():
        return (
            await embeddings.aembed_documents(["a", "b"]),
            await embeddings.aembed_query("a"),
            await embeddings.aembed_image(uris=[str(red)]),
            await embeddings.aembed_image(str(red)),
            await embeddings.aembed_images([red, red]),
            await embeddings.aembed_multimodal(mixed, input_type="query"),
        )

    assert asyncio.run(coroutines()) == (
        embeddings.embed_documents(["a", "b"]),
        embeddings.embed_query("a"),
        embeddings.embed_image(uris=[str(red)]),
        embeddings.embed_image(str(red)),
        embeddings.embed_images([red, red]),
        embeddings.embed_multimodal(mixed, input_type="query"),
    )


def test_making_one_and_embedding_nothing_starts_nothing():
    """A model that does not exist is told by the first text; a store over it can be made, and nothing embedded."""
    embeddings = JinaVLLMEmbeddings(model="no such model")
    InMemoryVectorStore(embeddings).add_texts([])
    assert embeddings.embed_documents([]) == embeddings.embed_images([]) == embeddings.embed_image([]) == []
    assert embeddings.embed_multimodal([]) == []

    async def coroutines():
        return await embeddings.aembed_documents([]) + await embeddings.aembed_multimodal([])

    assert asyncio.run(coroutines()) == []
    with pytest.raises(CheckpointError, match="no such model"):
        embeddings.embed_query("ein Text")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of engine and model must be given"),
        ({"engine": object(), "model": "jinaai/x"}, "one of engine and model must be given"),
        ({"engine": object(), "engine_options": {"dtype": "float32"}}, "engine options go with model="),
        ({"model": "x", "dimension": 128}, "dimension\n.*not permitted"),
        ({"model": "x", "task": "classification"}, "task\n.*'text-matching'"),
        ({"model": "x", "batch_size": 0}, "batch_size\n.*greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_told_when_one_is_made(settings, message):
    """Typos and contradictions do not wait for the first text."""
    with pytest.raises(ValidationError, match=message):
        JinaVLLMEmbeddings(**settings)


def test_settings_do_not_change(embeddings):
    """An assignment that would do nothing is refused."""
    with pytest.raises(ValidationError, match="frozen"):
        embeddings.dimensions = 16


def test_other_integrations_names_are_understood():
    """``model_name`` and ``show_progress`` are what some others call it."""
    embeddings = JinaVLLMEmbeddings(model_name="jinaai/x", show_progress=True)
    assert (embeddings.model, embeddings.show_progress_bar) == ("jinaai/x", True)


def test_dimensions_cut_and_are_checked(engine):
    """A Matryoshka size is the vectors' length, another size an error of the first text."""
    assert len(JinaVLLMEmbeddings(engine=engine, dimensions=16).embed_query("a")) == 16
    with pytest.raises(OptionError, match="Matryoshka sizes 16, 32, 64, got 17"):
        JinaVLLMEmbeddings(engine=engine, dimensions=17).embed_query("a")


def test_a_long_text_raises_or_is_cut():
    """What becomes of a text that is too long is the caller's choice, and never a silent one."""
    with FakeEngine(max_tokens=64) as engine:
        with pytest.raises(TextTooLongError, match="choose truncate=True"):
            JinaVLLMEmbeddings(engine=engine).embed_query("lang " * 100)
        assert len(JinaVLLMEmbeddings(engine=engine, truncate=True).embed_query("lang " * 100)) == 64


def test_image_limits_apply(engine, red):
    """The encoder's limits are the embeddings'."""
    embeddings = JinaVLLMEmbeddings(engine=engine, image_limits=ImageLimits(max_pixels=100))
    with pytest.raises(ImageSizeError) as caught:
        embeddings.embed_images([red])
    assert caught.value.index == 0


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
def test_batches_change_nothing(embeddings, batch_size):
    """One vector a text, in order, whatever the batch size: no batch becomes one vector, no text is lost."""
    texts = [f"Text {number}" for number in range(5)] * 2
    expected = embeddings.embed_documents(texts)
    batched = embeddings.model_copy(update={"batch_size": batch_size})
    assert len(expected) == 10
    assert batched.embed_documents(texts) == expected
    assert asyncio.run(batched.aembed_documents(texts)) == expected


def test_a_bad_text_is_named_by_its_position_in_all(engine):
    """The index is the caller's, not the batch's, and nothing of a bad batch is sent."""
    embeddings = JinaVLLMEmbeddings(engine=engine, batch_size=2)
    texts = ["a", "b", "c", " "]
    for call in (embeddings.embed_documents, lambda texts: asyncio.run(embeddings.aembed_documents(texts))):
        engine.batches.clear()
        with pytest.raises(EmptyTextError, match=r"^item 3: a text must have content") as caught:
            call(texts)
        assert caught.value.index == 3
        assert engine.n_requests <= 2
    engine.batches.clear()
    with pytest.raises(EmptyTextError):
        JinaVLLMEmbeddings(engine=engine).embed_documents(texts)
    assert engine.n_requests == 0


def test_what_was_given_alone_has_no_index(embeddings):
    """A query's error is about the query."""
    for failing in (
        lambda: embeddings.embed_query(" "),
        lambda: asyncio.run(embeddings.aembed_query(" ")),
        lambda: embeddings.embed_image({"type": "image", "file_id": "file-1"}),
        lambda: asyncio.run(embeddings.aembed_image("nowhere.png")),
    ):
        with pytest.raises(InputError) as caught:
            failing()
        assert caught.value.index is None


def test_an_engine_that_dies_is_told_with_the_batch():
    """The note about an item counts within the batch, so another says where that begins."""
    with DyingEngine(2) as engine:
        embeddings = JinaVLLMEmbeddings(engine=engine, batch_size=2)
        with pytest.raises(EngineDiedError) as caught:
            asyncio.run(embeddings.aembed_documents(["a", "b", "c"]))
    assert caught.value.__notes__ == ["while item 0 was awaited", "in the batch that begins with item 2"]


def test_waiting_calls_hold_no_thread(red):
    """Fifty calls of a running loop wait in the engine together, though the loop has one worker thread."""

    async def calls(embeddings):
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        queries = [embeddings.aembed_query(f"Frage {number}") for number in range(48)]
        others = [embeddings.aembed_documents(["ein Text"]), embeddings.aembed_image([red])]
        return await asyncio.gather(*queries, *others)

    with GatheringEngine(50) as engine:
        assert len(asyncio.run(calls(JinaVLLMEmbeddings(engine=engine)))) == 50


def test_the_model_is_not_read_on_the_event_loop(monkeypatch):
    """What the first call must read from the disk it reads in another thread."""
    embeddings = JinaVLLMEmbeddings(model="somewhere")
    threads = []

    def own_engine(lazy):
        threads.append(threading.current_thread())
        return FakeEngine()

    monkeypatch.setattr("jina_vllm_integrations.adapters.lazy_encoder.LazyEncoder._own_engine", own_engine)
    asyncio.run(embeddings.aembed_query("ein Text"))
    assert threads
    assert threading.main_thread() not in threads


def test_synchronous_calls_work_in_a_running_loop(embeddings):
    """A notebook's cell may call without await."""

    async def cell():
        return embeddings.embed_query("a")

    assert asyncio.run(cell()) == embeddings.embed_query("a")


IMAGE_SHAPES = {
    "path": str,
    "path object": lambda path: path,
    "data URI": lambda path: data_uri(path.read_bytes()),
    "bytes": lambda path: path.read_bytes(),
    "binary file": lambda path: io.BytesIO(path.read_bytes()),
    "PIL": lambda path: Image.open(io.BytesIO(path.read_bytes())),
    "ImageInput": lambda path: ImageInput(str(path)),
    "Blob of a path": Blob.from_path,
    "Blob of bytes": lambda path: Blob.from_data(path.read_bytes(), mime_type="image/png"),
    "Blob of bytes with a path": lambda path: Blob.from_data(path.read_bytes(), path="gone.png"),
    "v1 block": lambda path: create_image_block(base64=in_base64(path.read_bytes()), mime_type="image/png"),
    "v1 block of a data URI": lambda path: create_image_block(url=data_uri(path.read_bytes())),
    "older block": lambda path: {
        "type": "image",
        "source_type": "base64",
        "data": in_base64(path.read_bytes()),
        "mime_type": "image/png",
    },
    "older block of a data URI": lambda path: {
        "type": "image",
        "source_type": "url",
        "url": data_uri(path.read_bytes()),
    },
    "OpenAI's block": lambda path: {
        "type": "image_url",
        "image_url": {"url": data_uri(path.read_bytes()), "detail": "low"},
    },
    "OpenAI's block, short": lambda path: {
        "type": "image_url",
        "image_url": data_uri(path.read_bytes()),
    },
}


@pytest.mark.parametrize("shape", IMAGE_SHAPES.values(), ids=IMAGE_SHAPES)
def test_an_image_in_every_shape(embeddings, encoder, red, shape):
    """The picture decides the vector, not how it was handed over."""
    expected = encoder.embed([red], role="document").tolist()
    assert embeddings.embed_images([shape(red)]) == expected
    assert embeddings.embed_image([shape(red)]) == expected
    assert [embeddings.embed_image(shape(red))] == expected
    if not isinstance(shape(red), str):
        assert embeddings.embed_multimodal([shape(red)]) == expected


def test_images_of_a_message(embeddings, red):
    """The content blocks that LangChain makes of a provider's message are understood."""
    message = HumanMessage(
        [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": data_uri(red.read_bytes())}},
        ]
    )
    text, image = embeddings.embed_multimodal(message.content_blocks)
    assert [text] == embeddings.embed_documents(["what is this?"])
    assert image == embeddings.embed_image(red)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "image", "source_type": "url", "url": "https://example.com/a.png"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ],
)
def test_a_blocks_url_is_a_url(block):
    """A block with a URL is left to the fetching of this package, with its limits."""
    assert image_item(block) == ImageInput("https://example.com/a.png")


@pytest.mark.parametrize("address", ["/etc/passwd", "file:///etc/passwd", "red.png", "ftp://example.com/a.png", ""])
@pytest.mark.parametrize("key", ["url", "image_url"])
def test_a_block_cannot_name_a_local_file(embeddings, red, monkeypatch, address, key):
    """A conversation must not choose which files of this machine are read, even where they exist."""
    monkeypatch.chdir(red.parent)
    block = {"type": "image", "url": address} if key == "url" else {"type": key, key: {"url": address}}
    with pytest.raises(ImageAddressError, match="must be http, https or a data URI") as caught:
        embeddings.embed_images([red, block])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (create_image_block(file_id="file-1"), ItemTypeError, r"got the file_id 'file-1'.*Download the file"),
        ({"type": "image", "source_type": "id", "id": "file-1"}, ItemTypeError, "got the file_id 'file-1'"),
        ({"type": "video", "url": "https://example.com"}, ItemTypeError, "got the type 'video' with type, url"),
        ({"type": "text", "text": "a"}, ItemTypeError, "got the type 'text' with type, text"),
        ({"type": "image", "base64": "%"}, ImageFormatError, "well encoded"),
        ({}, ItemTypeError, "got the type None with"),
        (Blob.from_data("a text"), ItemTypeError, r"Blob with an image has its bytes or a path.*'a text'"),
        (Blob.from_data(b"%PDF-1.7", mime_type="application/pdf"), ImageFormatError, "bytes"),
        (TextInput("a text"), ItemTypeError, "got TextInput"),
        (["a.png"], ItemTypeError, "got list"),
        (Document("a text"), ItemTypeError, "got Document"),
        ("a text", ImageNotFoundError, "'a text'"),
        (3, ItemTypeError, "got int 3"),
    ],
)
def test_what_is_no_image_is_told_with_its_position(embeddings, red, image, error, message):
    """An error names the image, says what was expected and what to do."""
    with pytest.raises(error, match=message) as caught:
        embeddings.embed_images([red, red, image])
    assert caught.value.index == 2


@pytest.mark.parametrize(
    "single", ["one text", b"bytes", {"type": "text", "text": "a"}, Blob.from_data(b"a"), io.BytesIO(), 3]
)
def test_one_input_where_several_belong_is_told(embeddings, single):
    """A str is no list of letters, a block no list of its keys."""
    for method in (embeddings.embed_documents, embeddings.embed_images, embeddings.embed_multimodal):
        with pytest.raises(ItemTypeError, match=r"got one \w+\. For one"):
            method(single)


@pytest.mark.parametrize("given", [3, None, b"bytes", ["nested"]])
def test_documents_are_texts(embeddings, given):
    """What a store hands over as a text must be one."""
    with pytest.raises(ItemTypeError, match="TextInput takes a str") as caught:
        embeddings.embed_documents(["a", given])
    assert caught.value.index == 1


def test_embed_image_is_what_stores_call(embeddings, red, tmp_path):
    """Chroma and LanceDB look for the method and pass ``uris=``, a list of paths; others pass one image."""
    blue = saved(tmp_path / "blue.png", "blue")
    both = embeddings.embed_image(uris=[str(red), str(blue)])
    assert both == embeddings.embed_images([red, blue])
    assert embeddings.embed_image((red, blue)) == both
    assert [embeddings.embed_image(str(red)), embeddings.embed_image(blue)] == both


def test_texts_and_images_together(embeddings, encoder, red):
    """Each input has one vector; the input type decides the prompt of texts only."""
    inputs = ["ein Text", red, TextInput("noch einer"), {"type": "text", "text": "a block"}]
    items = [*inputs[:3], "a block"]
    for role in ("document", "query"):
        vectors = embeddings.embed_multimodal(inputs, input_type=role)
        np.testing.assert_array_equal(vectors, encoder.embed(items, role=role))
    assert embeddings.embed_multimodal(inputs) == embeddings.embed_multimodal(inputs, "document")
    with pytest.raises(OptionError, match="input_type must be one of 'query', 'document', got 'passage'"):
        embeddings.embed_multimodal(inputs, input_type="passage")


def test_a_text_that_is_a_path_stays_a_text(embeddings, red):
    """Nobody who writes a text decides that a file is read; a data URI among texts is an error."""
    assert embeddings.embed_multimodal([str(red)]) == embeddings.embed_documents([str(red)])
    for method in (embeddings.embed_documents, embeddings.embed_multimodal):
        with pytest.raises(ItemTypeError, match="item 0: a str is a text"):
            method([data_uri(red.read_bytes())])


def test_inputs_that_are_interleaved_are_told(embeddings, red):
    """One input is one text or one image, and a list of both is neither."""
    with pytest.raises(ItemTypeError, match="item 1: an item is a text"):
        embeddings.embed_multimodal(["a", ["b", red]])


def test_a_vector_store_finds_texts_by_text_and_by_vector(embeddings):
    """Documents go in and come out, with their ids, synchronously and not."""
    store = InMemoryVectorStore(embeddings)
    store.add_documents([Document("the red circle", id="r"), Document("ein blaues Quadrat", id="b")])
    (found,) = store.similarity_search("where is the red circle", k=1)
    assert (found.page_content, found.id) == ("the red circle", "r")
    (again,) = asyncio.run(store.asimilarity_search("where is the red circle", k=1))
    assert again.id == "r"
    (nearest,) = store.as_retriever(search_kwargs={"k": 1}).invoke("where is the red circle")
    assert nearest.id == "r"


def test_nothing_shows_the_engine(embeddings, engine):
    """An engine is neither printed nor serialised, nor are options that may hold a token."""
    assert "Engine" not in repr(embeddings)
    assert "engine" not in embeddings.model_dump()
    assert dumpd(embeddings)["type"] == "not_implemented"
    assert "hf_secret" not in repr(JinaVLLMEmbeddings(model="x", engine_options={"hf_token": "hf_secret"}))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda given: given.model_copy(), lambda given: given.model_copy(deep=True)]
)
def test_a_copy_shares_an_engine_that_was_given(embeddings, engine, copied):
    """A given engine is the caller's, whoever uses it; closing a copy closes no other."""
    other = copied(embeddings)
    assert other.engine is engine
    other.close()
    assert len(embeddings.embed_query("a")) == 64


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))],  # noqa: S301 - its own
)
def test_a_copy_has_an_engine_of_its_own_where_none_was_given(vllm_engine, checkpoint, copied):
    """Closing the one leaves the other."""
    with JinaVLLMEmbeddings(model=checkpoint, engine_options=ENGINE_OPTIONS) as embeddings:
        expected = embeddings.embed_query("a")
        other = copied(embeddings)
        assert other.model_dump() == embeddings.model_dump()
    with other:
        np.testing.assert_allclose(other.embed_query("a"), expected, **SAME)
    with pytest.raises(EngineClosedError, match="was closed"):
        embeddings.embed_query("a")


def test_a_copy_with_other_settings_has_them(embeddings):
    """``model_copy(update=...)`` takes effect, and is checked."""
    assert len(embeddings.embed_query("a")) == 64
    assert len(embeddings.model_copy(update={"dimensions": 16}).embed_query("a")) == 16
    with pytest.raises(ValidationError, match="not permitted"):
        embeddings.model_copy(update={"dimension": 16})


def test_an_engine_that_was_given_is_not_pickled(embeddings):
    """It cannot travel, and a copy without it could not work."""
    with pytest.raises(OptionError, match=r"got engine\. Pass model="):
        pickle.dumps(embeddings)


def test_closing_leaves_the_callers_engine_open(engine):
    """The embeddings end, the engine does not; both kinds of context managers close."""

    async def leave(embeddings):
        async with embeddings:
            await embeddings.aembed_query("a")

    with JinaVLLMEmbeddings(engine=engine) as first:
        first.embed_query("a")
    second = JinaVLLMEmbeddings(engine=engine)
    asyncio.run(leave(second))
    for embeddings in (first, second):
        with pytest.raises(EngineClosedError, match="Make another one"):
            embeddings.embed_query("a")
    assert len(JinaVLLMEmbeddings(engine=engine).embed_query("a")) == 64


def test_progress_is_shown_where_it_was_chosen(engine, capsys):
    """A bar counts the items of many, not those of a query; without the option nothing is written."""
    quiet, loud = JinaVLLMEmbeddings(engine=engine), JinaVLLMEmbeddings(engine=engine, show_progress_bar=True)
    quiet.embed_documents(["a", "b"])
    loud.embed_query("a")
    assert capsys.readouterr() == ("", "")
    loud.embed_documents(["a", "b"])
    assert "2/2" in capsys.readouterr().err
    asyncio.run(loud.aembed_images([Image.new("RGB", (60, 40))] * 3))
    out, err = capsys.readouterr()
    assert (out, "3/3" in err) == ("", True)


def test_without_langchain_the_extra_is_named(monkeypatch):
    """Who lacks langchain-core is told what to install, when a class is asked for and not before."""
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-vllm-integrations\[langchain\]'") as caught:
        jina_vllm_integrations.langchain.JinaVLLMEmbeddings  # noqa: B018
    assert caught.value.extra == "langchain"


def test_public_names():
    """What is exported is there, and a typo is an ``AttributeError``."""
    assert jina_vllm_integrations.langchain.JinaVLLMEmbeddings is JinaVLLMEmbeddings
    assert dir(jina_vllm_integrations.langchain) == sorted(jina_vllm_integrations.langchain.__all__)
    with pytest.raises(AttributeError, match="no attribute 'JinaEmbeddings'"):
        jina_vllm_integrations.langchain.JinaEmbeddings  # noqa: B018
