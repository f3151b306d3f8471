"""Who embeds the texts of pages in their images' place is told once."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex

from jina_vllm_integrations import ItemTypeError
from jina_vllm_integrations.adapters import page_loading
from jina_vllm_integrations.adapters.page_texts import PageTexts
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever, PageImageLoader, embeddings
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, PageImageReader, embedding
from page_files import REPORT, folder_with


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    """Let each test be a process that has said nothing."""
    texts = PageTexts()
    for module in (page_loading, embeddings, embedding):
        monkeypatch.setattr(module, "PAGE_TEXTS", texts)


@pytest.fixture
def loader(tmp_path):
    """Return a loader of pages with and without a text layer."""
    return PageImageLoader(folder_with(REPORT, tmp_path / "documents"), image_folder=tmp_path / "images")


def warnings_in(caplog):
    """Return the warnings about pages' texts."""
    return [record.getMessage() for record in caplog.records if "not the image" in record.getMessage()]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_vector_store_embeds_the_texts_of_pages(loader, engine, caplog, asynchronous):
    """It cannot be kept from it, so the warning says what to call; once."""
    given = JinaVLLMEmbeddings(engine=engine)
    for _ in range(2):
        if asynchronous:
            asyncio.run(InMemoryVectorStore.afrom_documents(loader.load(), given))
        else:
            InMemoryVectorStore.from_documents(loader.load(), given)
    (warning,) = warnings_in(caplog)
    assert "JinaVLLMRetriever(vectorstore=...).add_documents" in warning


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_index_embeds_the_texts_of_pages(loader, engine, caplog, tmp_path, asynchronous):
    """And is told of its own remedy, which then is silent."""
    pages = PageImageReader(image_folder=tmp_path / "images").load_data(tmp_path / "documents")
    given = JinaVLLMEmbedding(engine=engine)
    index = VectorStoreIndex([], embed_model=given)
    index.insert_nodes(given(pages))
    assert warnings_in(caplog) == []
    for page in pages:
        page.embedding = None
    if asynchronous:
        asyncio.run(index.ainsert_nodes(pages))
    else:
        VectorStoreIndex.from_documents(pages, embed_model=given)
    (warning,) = warnings_in(caplog)
    assert "index.insert_nodes(embedding(documents))" in warning


def test_the_retriever_embeds_the_images(loader, engine, caplog, tmp_path):
    """Nothing is said where images are embedded, or other texts."""
    given = JinaVLLMEmbeddings(engine=engine)
    roots = (tmp_path / "documents", loader.image_folder)
    JinaVLLMRetriever(vectorstore=InMemoryVectorStore(given), allowed_image_roots=roots).add_documents(loader.load())
    given.embed_documents(["another text"])
    assert warnings_in(caplog) == []


def test_what_can_be_read_once_is_embedded_whole(loader, engine):
    """Trap: whoever looks for a page's text in a generator has taken texts from it."""
    loader.load()
    given = JinaVLLMEmbeddings(engine=engine)
    assert len(given.embed_documents(text for text in ("a", "b", "c"))) == 3
    with pytest.raises(ItemTypeError):
        given.embed_documents(3)


def test_images_are_embedded_where_the_embedding_is_a_transformation(loader, engine, caplog, tmp_path):
    """Of the index's own, and nothing is said."""
    given = JinaVLLMEmbedding(engine=engine)
    pages = PageImageReader(image_folder=tmp_path / "images").load_data(tmp_path / "documents")
    VectorStoreIndex.from_documents(pages, transformations=[given], embed_model=given)
    assert warnings_in(caplog) == []
