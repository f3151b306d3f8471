"""LangChain's own suites over stores that others wrote: the stores with our embeddings, and our retriever over them."""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite

from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from langchain_stores import QUERY, documents
from other_langchain_stores import ROWS
from other_stores import OTHERS_WARNINGS

pytestmark = OTHERS_WARNINGS

runs_coroutines = pytest.mark.asyncio
no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)

STORES = ["chroma_on_server", "pgvector_store", "faiss", "milvus", "lancedb"]
THE_STORES_OWN = {}
"""What fails by the store's own fault, by the test and the store."""


@pytest.fixture(params=STORES)
def name(request):
    """Return the name of a store, and expect what is its own fault."""
    test = request.function.__name__
    if (reason := THE_STORES_OWN.get((test, request.param))) is not None:
        request.applymarker(pytest.mark.xfail(reason=f"{request.param}: {reason}", strict=True))
    return request.param


@pytest.fixture
def way():
    """Return the way in which the stores are made."""
    return "sync"


@pytest.fixture
def store(name, place_for, engine):
    """Return an empty store."""
    row = ROWS[name]
    return row.make(JinaVLLMEmbeddings(engine=engine), place_for(row))


@pytest.fixture
def retriever(store, token_store):
    """Return a retriever over it."""
    return JinaVLLMRetriever(vectorstore=store, token_store=token_store)


@runs_coroutines
@no_warning_of_functions
class TestStores(VectorStoreIntegrationTests):
    """LangChain's standard tests of stores, on our embeddings."""

    @pytest.fixture
    def vectorstore(self, store):
        """Return what is tested."""
        return store


@runs_coroutines
@no_warning_of_functions
class TestRetriever(RetrieversIntegrationTests):
    """LangChain's standard tests of retrievers, of ours over each store."""

    @pytest.fixture(autouse=True)
    def _filled(self, retriever):
        self.retriever = retriever
        retriever.add_documents(documents())

    @property
    def retriever_constructor(self):
        """What is tested."""
        return JinaVLLMRetriever

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        return {"vectorstore": self.retriever.vectorstore, "token_store": self.retriever.token_store}

    @property
    def retriever_query_example(self):
        """A query that finds something."""
        return QUERY


class TestFilled(DocumentIndexerTestSuite):
    """LangChain's standard tests of what ``index`` fills."""

    @pytest.fixture
    def index(self, retriever):
        """Return what is tested."""
        return retriever


@runs_coroutines
class TestFilledInALoop(AsyncDocumentIndexTestSuite):
    """LangChain's standard tests of what ``aindex`` fills."""

    @pytest.fixture
    def index(self, retriever):
        """Return what is tested."""
        return retriever
