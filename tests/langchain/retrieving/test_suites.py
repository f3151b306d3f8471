"""LangChain's own suites for retrievers and document indexes."""

from __future__ import annotations

import pytest
from langchain_community.retrievers import TFIDFRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langchain_tests.integration_tests.indexer import AsyncDocumentIndexTestSuite, DocumentIndexerTestSuite

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever
from jina_vllm_integrations.qdrant import QdrantIndex
from langchain_stores import QUERY, documents

runs_coroutines = pytest.mark.asyncio

no_warning_of_functions = pytest.mark.filterwarnings(
    "ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning"
)


class _Standard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        """What is tested."""
        return JinaVLLMRetriever

    @property
    def retriever_query_example(self):
        """A query that finds something."""
        return QUERY


@runs_coroutines
@no_warning_of_functions
class TestVectorStoreOnVLLM(_Standard):
    """LangChain's standard tests, over a vector store, on the session's vLLM."""

    @pytest.fixture(autouse=True)
    def _stages(self, vllm_engine, token_store):
        self.store = InMemoryVectorStore(JinaVLLMEmbeddings(engine=vllm_engine))
        self.token_store = token_store
        JinaVLLMRetriever(**self.retriever_constructor_params).add_documents(documents())

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        return {"vectorstore": self.store, "token_store": self.token_store}


@runs_coroutines
@no_warning_of_functions
class TestQdrantOnVLLM(_Standard):
    """LangChain's standard tests, over Qdrant, on the session's vLLM."""

    @pytest.fixture(autouse=True)
    def _stages(self, vllm_engine):
        with QdrantIndex(JinaEncoder(vllm_engine, task="retrieval"), "pages", path=":memory:") as self.index:
            JinaVLLMRetriever(index=self.index).add_documents(documents())
            yield

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        return {"index": self.index}


@runs_coroutines
@no_warning_of_functions
class TestRetrieverOnVLLM(_Standard):
    """LangChain's standard tests, over a retriever of words, on the session's vLLM."""

    @pytest.fixture(autouse=True)
    def _stages(self, vllm_engine, token_store):
        self.embeddings = JinaVLLMEmbeddings(engine=vllm_engine)
        self.token_store = token_store

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        words = TFIDFRetriever.from_documents(documents())
        return {"retriever": words, "embeddings": self.embeddings, "token_store": self.token_store}


class TestVectorStoreIsFilled(DocumentIndexerTestSuite):
    """LangChain's standard tests of what ``index`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make()


class TestQdrantIsFilled(DocumentIndexerTestSuite):
    """LangChain's standard tests of what ``index`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make(QdrantIndex)


@runs_coroutines
class TestVectorStoreIsFilledInALoop(AsyncDocumentIndexTestSuite):
    """LangChain's standard tests of what ``aindex`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make()


@runs_coroutines
class TestQdrantIsFilledInALoop(AsyncDocumentIndexTestSuite):
    """LangChain's standard tests of what ``aindex`` fills."""

    @pytest.fixture
    def index(self, make):
        """Return what is tested."""
        return make(QdrantIndex)
