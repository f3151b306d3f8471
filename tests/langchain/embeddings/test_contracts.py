"""LangChain's embeddings: its own suites, prompts, settings, both ways to call."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.documents import Document
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
    EngineDiedError,
    ImageLimits,
    ImageSizeError,
    InputError,
    JinaEncoder,
    MissingExtraError,
    OptionError,
    TextTooLongError,
)
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings
from jina_vllm_integrations.testing import FakeEngine

# One vector computed alone and in a batch differs by the order of float32 additions.
SAME = {"rtol": 0, "atol": 1e-5}

# The suites have coroutines beside functions, and pytest-asyncio warns of a mark on the latter.
runs_coroutines = pytest.mark.asyncio

no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)


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
