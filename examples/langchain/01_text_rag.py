"""Text RAG on any vector store: index texts, find those that answer a question, and let a chat model read them.

    python examples/langchain/01_text_rag.py

The demo's checkpoint and a stand-in for a chat model make it run anywhere, without a download or a GPU. With your own:
``JinaVLLMEmbeddings(model="jinaai/jina-embeddings-v4-vllm-retrieval")``, any vector store, any chat model.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from chat_models import LineReader
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever

LISTS = {
    "stock.txt": "Stock list 52, River Depot, 16 June\nrare cakes 4\ncheap pears 52\nlight roses 93\nred stones 77",
    "prices.txt": "Price list 8, Castle Shop, 2 May\nold cameras 120\nround cups 6\ngreen candles 3\nsmall pots 14",
    "delivery.txt": "Delivery 17, Harbour School, 9 March\nlong ladders 2\nheavy fans 11\nwhite onions 40\nnew lamps 8",
    "storage.txt": "Storage plan 3, Forest Farm, 21 April\nshort apples 58\nbroken maps 5\nhard oranges 35",
}
QUESTIONS = ("How many light roses are there?", "old cameras for sale", "How many heavy fans are delivered?")

prompt = ChatPromptTemplate.from_template("Answer from these lists.\n{lists}\n{question}")


def joined(documents: list[Document]) -> str:
    """Return the texts of documents, one after the other."""
    return "\n".join(document.page_content for document in documents)


def main() -> None:
    """Run the example."""
    with demo_engine() as engine, TemporaryDirectory() as folder, TokenStore(folder) as token_store:
        embeddings = JinaVLLMEmbeddings(engine=engine)
        retriever = JinaVLLMRetriever(
            vectorstore=InMemoryVectorStore(embeddings),  # any of LangChain's
            token_store=token_store,
            k=1,
        )
        retriever.add_documents([Document(text, metadata={"source": name}) for name, text in LISTS.items()])
        chain = (
            {"lists": retriever | joined, "question": RunnablePassthrough()} | prompt | LineReader() | StrOutputParser()
        )
        for question in QUESTIONS:
            (found,) = retriever.invoke(question)
            print(f"{question}\n  {found.metadata['source']}: {chain.invoke(question)}")


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
