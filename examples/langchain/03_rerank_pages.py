"""Retrieve, then rerank pages: what late interaction adds to dense vectors, on a vector store that you have already.

    python examples/langchain/03_rerank_pages.py

The dense vectors are cut to 64 values here, a quarter of the demo's, as one would for an index of millions. Reranking
their best mends what that costs.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.demo import demo_corpus, demo_engine
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRerank, JinaVLLMRetriever

corpus = demo_corpus()
pages = [document for document in corpus.documents if document.name.startswith("page")]
queries = [query for query in corpus.queries if query.answers[0].startswith("page")]


def right(ways: dict[str, object]) -> None:
    """Print how often each way finds the page that answers a query first."""
    for name, search in ways.items():
        found = [search.invoke(query.text)[0].id in query.answers for query in queries]
        print(f"{name:<36} {sum(found)} of {len(queries)} pages first")


def main() -> None:
    """Run the example."""
    with demo_engine() as engine, TemporaryDirectory() as folder, TokenStore(folder) as token_store:
        embeddings = JinaVLLMEmbeddings(engine=engine, dimensions=64)
        vector_store = InMemoryVectorStore(embeddings)
        roots = (pages[0].path.parent,)
        two_stages = JinaVLLMRetriever(
            vectorstore=vector_store, token_store=token_store, allowed_image_roots=roots, k=3, fetch_k=12
        )
        two_stages.add_images([page.path for page in pages], ids=[page.name for page in pages])

        # The reranker alone, behind any retriever: it shares the token vectors.
        reranker = JinaVLLMRerank(engine=engine, store=token_store, allowed_image_roots=roots, top_n=3)
        compressed = ContextualCompressionRetriever(
            base_compressor=reranker, base_retriever=vector_store.as_retriever(search_kwargs={"k": 12})
        )
        right(
            {
                "dense vectors, 64 values": vector_store.as_retriever(),
                "JinaVLLMRetriever": two_stages,
                "ContextualCompressionRetriever": compressed,
            }
        )
        print(f"\n{queries[0].text}")
        for document in two_stages.invoke(queries[0].text):
            print(f"  {document.id}")


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
