"""Texts in an index of LlamaIndex's, and a query engine that answers from those it finds.

    python examples/llama_index/01_text_index.py

The demo's checkpoint and a stand-in for a language model make it run anywhere, without a download or a GPU. With your
own: ``JinaVLLMEmbedding(model="jinaai/jina-embeddings-v4-vllm-retrieval")``, any vector store, any LLM.
"""

from __future__ import annotations

from llama_index.core import Document, VectorStoreIndex
from llms import LineReader

from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding

LISTS = {
    "stock.txt": "Stock list 52, River Depot, 16 June\nrare cakes 4\ncheap pears 52\nlight roses 93\nred stones 77",
    "prices.txt": "Price list 8, Castle Shop, 2 May\nold cameras 120\nround cups 6\ngreen candles 3\nsmall pots 14",
    "delivery.txt": "Delivery 17, Harbour School, 9 March\nlong ladders 2\nheavy fans 11\nwhite onions 40\nnew lamps 8",
    "storage.txt": "Storage plan 3, Forest Farm, 21 April\nshort apples 58\nbroken maps 5\nhard oranges 35",
}
QUESTIONS = ("How many light roses are there?", "old cameras for sale", "How many heavy fans are delivered?")


def main() -> None:
    """Run the example."""
    with demo_engine() as engine:
        index = VectorStoreIndex.from_documents(
            [Document(text=text, metadata={"file_name": name}) for name, text in LISTS.items()],
            embed_model=JinaVLLMEmbedding(engine=engine),
        )
        query_engine = index.as_query_engine(llm=LineReader(), similarity_top_k=1)
        for question in QUESTIONS:
            answer = query_engine.query(question)
            print(f"{question}\n  {answer.source_nodes[0].metadata['file_name']}: {answer}")


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
