"""Retrieve, then rerank the pages of a PDF: what late interaction adds to an index that you have already.

    python examples/llama_index/03_rerank_pages.py

The dense vectors are cut to 64 values here, a quarter of the demo's, as one would for an index of millions. Reranking
their best mends what that costs. In a query engine of your own:
``index.as_query_engine(similarity_top_k=12, node_postprocessors=[reranker, pictures], multimodal=True, llm=llm)``,
where a `PageImagePostprocessor` puts the pages' pictures before the language model.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from llama_index.core import VectorStoreIndex
from scans import DPI, scanned

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.demo import demo_corpus, demo_engine
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMRerank, PageImageReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from llama_index.core.schema import NodeWithScore

queries = [query for query in demo_corpus().queries if query.answers[0].startswith("page")]


def right(name: str, search: Callable[[str], list[NodeWithScore]]) -> None:
    """Print how often a search finds the page that answers a query first."""
    best = [search(query.text)[0].metadata["page_number"] for query in queries]
    found = [f"page-{page:02}.png" in query.answers for page, query in zip(best, queries, strict=True)]
    print(f"{name:<26} {sum(found)} of {len(queries)} pages first")


def main() -> None:
    """Run the example."""
    with demo_engine() as engine, TemporaryDirectory() as folder, TokenStore(f"{folder}/vectors") as token_store:
        reader = PageImageReader(dpi=DPI)
        pages = reader.load_data(scanned(Path(folder) / "lists.pdf"))

        embedding = JinaVLLMEmbedding(engine=engine, dimensions=64)
        index = VectorStoreIndex([], embed_model=embedding)
        index.insert_nodes(embedding(pages))  # the embedding sees the pages' images, the index alone would not
        retriever = index.as_retriever(similarity_top_k=12)
        reranker = JinaVLLMRerank(engine=engine, store=token_store, allowed_image_roots=(folder,), top_n=3)

        def reranked(query: str) -> list[NodeWithScore]:
            return reranker.postprocess_nodes(retriever.retrieve(query), query_str=query)

        right("dense vectors, 64 values", retriever.retrieve)
        right("reranked", reranked)
        print(f"\n{queries[0].text}")
        for node in reranked(queries[0].text):
            print(f"  {node.metadata['file_name']}, page {node.metadata['page_label']}")


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
