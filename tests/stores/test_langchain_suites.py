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
LOOKED_UP = ["chroma", "chroma_on_server", "pgvector_store", "faiss"]
"""Those with ``get_by_ids``, in which the suites of document indexes look everything up."""

WITHOUT_IDS = {
    "TestStores.test_add_documents",
    "TestStores.test_add_documents_by_id_with_mutation",
    "TestStores.test_add_documents_documents",
    "TestStores.test_add_documents_with_existing_ids",
    "TestStores.test_add_documents_with_ids_is_idempotent",
    "TestStores.test_deleting_bulk_documents",
    "TestStores.test_deleting_documents",
    "TestStores.test_get_by_ids",
    "TestStores.test_get_by_ids_missing",
}
CHROMA = {
    "it merges the metadata of a known id": {"TestFilled.test_upsert_overwrites"},
}
THE_STORES_OWN = {
    "chroma": CHROMA,
    "chroma_on_server": CHROMA,
    "faiss": {
        "it refuses an id that is there": {
            "TestStores.test_add_documents_by_id_with_mutation",
            "TestStores.test_add_documents_with_ids_is_idempotent",
            "TestFilled.test_upsert_overwrites",
        },
        "it refuses to delete what is not there": {"TestStores.test_delete_missing_content"},
    },
    "milvus": {"it has no get_by_ids, and finds documents without ids": WITHOUT_IDS},
    "lancedb": {
        "it has no get_by_ids, and finds documents without ids": WITHOUT_IDS,
        "it has no table before the first document": {
            "TestStores.test_delete_missing_content",
            "TestStores.test_vectorstore_is_empty",
            "TestStores.test_vectorstore_still_empty",
        },
    },
}
"""What fails by a store's own fault, in both ways."""


def expecting(request):
    """Return a store's name, and expect a test to fail where that is the store's own fault."""
    test = f"{request.cls.__name__}.{request.function.__name__}".replace("InALoop", "").removesuffix("_async")
    for reason, tests in THE_STORES_OWN.get(request.param, {}).items():
        if test in tests:
            request.applymarker(pytest.mark.xfail(reason=f"{request.param}: {reason}", strict=True))
    return request.param


@pytest.fixture(params=STORES)
def name(request):
    """Return the name of a store."""
    return expecting(request)


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
    def _filled(self, store, token_store):
        self.made = {"vectorstore": store, "token_store": token_store}
        JinaVLLMRetriever(**self.made).add_documents(documents())

    @property
    def retriever_constructor(self):
        """What is tested."""
        return JinaVLLMRetriever

    @property
    def retriever_constructor_params(self):
        """How it is made."""
        return self.made

    @property
    def retriever_query_example(self):
        """A query that finds something."""
        return QUERY


class TestFilled(DocumentIndexerTestSuite):
    """LangChain's standard tests of what ``index`` fills."""

    @pytest.fixture(params=LOOKED_UP)
    def name(self, request):
        """Return the name of a store."""
        return expecting(request)

    @pytest.fixture
    def index(self, retriever):
        """Return what is tested."""
        return retriever


@runs_coroutines
class TestFilledInALoop(AsyncDocumentIndexTestSuite):
    """LangChain's standard tests of what ``aindex`` fills."""

    @pytest.fixture(params=LOOKED_UP)
    def name(self, request):
        """Return the name of a store."""
        return expecting(request)

    @pytest.fixture
    def index(self, retriever):
        """Return what is tested."""
        return retriever
