"""The stages that a retriever is made with: a vector store or a retriever and late interaction, or both in Qdrant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.langchain.embeddings import JinaVLLMEmbeddings
from jina_vllm_integrations.langchain.qdrant_pages import QdrantPages
from jina_vllm_integrations.langchain.retriever_stages import RetrieverStage
from jina_vllm_integrations.langchain.runnables import check_retriever
from jina_vllm_integrations.langchain.store_stages import StoreStage
from jina_vllm_integrations.langchain.two_stages import TwoStages

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from langchain_core.vectorstores import VectorStore

    from jina_vllm_integrations.adapters.found import FoundErrors
    from jina_vllm_integrations.adapters.page_images import PageImages
    from jina_vllm_integrations.langchain.searches import PageIndex
    from jina_vllm_integrations.qdrant import QdrantIndex
    from jina_vllm_integrations.token_store import TokenStore


def page_index(
    *,
    vectorstore: VectorStore | None,
    retriever: Runnable[Any, Any] | None,
    index: QdrantIndex | None,
    embeddings: JinaVLLMEmbeddings | None,
    token_store: TokenStore | None,
    images: PageImages,
    errors: FoundErrors,
) -> PageIndex:
    """Return what finds and ranks.

    Args:
        vectorstore: The first stage. One of these three.
        retriever: The first stage.
        index: Both stages.
        embeddings: The vector store's, or with a retriever those that rank.
        token_store: Keeps token vectors.
        images: Which images of documents may be read.
        errors: What is done about bad documents that the first stage finds.

    Raises:
        OptionError: Not one of the three; no embeddings with a retriever, or others than the vector store's; or
            something beside an index that has its own.
    """
    given = [each for each in (vectorstore, retriever, index) if each is not None]
    if len(given) != 1:
        raise OptionError(
            f"one of vectorstore, retriever and index must be given, got {len(given)}. Pass any vector store or "
            "retriever, or a QdrantIndex."
        )
    if index is not None:
        beside = {"embeddings": embeddings, "token_store": token_store}
        if named := [name for name, each in beside.items() if each is not None]:
            raise OptionError(
                f"{' and '.join(named)} go with vectorstore= or retriever=, an index has its own. Leave them out."
            )
        return QdrantPages(index, images)
    if vectorstore is not None:
        own = _own_embeddings(vectorstore, embeddings)
        return TwoStages(StoreStage(vectorstore), own, token_store, images, errors)
    check_retriever(retriever)
    assert retriever is not None
    return TwoStages(RetrieverStage(retriever), _ranking(embeddings), token_store, images, errors)


def _own_embeddings(vectorstore: VectorStore, given: JinaVLLMEmbeddings | None) -> JinaVLLMEmbeddings:
    own = vectorstore.embeddings
    embeddings = own or given
    if not isinstance(embeddings, JinaVLLMEmbeddings):
        raise OptionError(
            f"the vector store must embed by JinaVLLMEmbeddings, as both stages compute by one model, got "
            f"{type(embeddings).__name__}. Make it with them; if it does not tell its embeddings, pass them as "
            "embeddings=. To rank what another model finds, pass retriever=vectorstore.as_retriever() and embeddings=, "
            "or use JinaVLLMRerank."
        )
    if given is not None and given is not embeddings:
        raise OptionError("embeddings= must be the vector store's own, got others. Leave it out.")
    return embeddings


def _ranking(embeddings: JinaVLLMEmbeddings | None) -> JinaVLLMEmbeddings:
    if not isinstance(embeddings, JinaVLLMEmbeddings):
        raise OptionError(
            f"embeddings must be given with retriever=: the JinaVLLMEmbeddings whose model ranks, got "
            f"{type(embeddings).__name__}."
        )
    return embeddings
