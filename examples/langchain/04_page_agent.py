"""An agent that searches the pages of a PDF, and sees them.

    python examples/langchain/04_page_agent.py

A tool result has the text that the PDF has, and a thumbnail of each page. A stand-in for a chat model makes it run
anywhere; with your own, ``create_agent("provider:model", tools=[search_pages])``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from chat_models import PageAgent
from langchain.agents import create_agent
from PIL import Image

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.demo import demo_corpus, demo_engine
from jina_vllm_integrations.langchain import JinaVLLMRetriever, PageImageLoader, create_page_search_tool
from jina_vllm_integrations.qdrant import QdrantIndex

QUESTIONS = ("green candles for sale", "shelf of light coats at Castle School")


def scanned(pdf: Path) -> Path:
    """Bind the demo's printed pages into a PDF, as a scanner does."""
    first, *others = [
        Image.open(document.path).convert("RGB")
        for document in demo_corpus().documents
        if document.name.startswith("page")
    ]
    first.save(pdf, save_all=True, append_images=others, resolution=72)
    return pdf


def main() -> None:
    """Run the example."""
    with (
        demo_engine() as engine,
        TemporaryDirectory() as folder,
        QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:") as qdrant,
    ):
        loader = PageImageLoader(scanned(Path(folder) / "lists.pdf"), dpi=72)
        retriever = JinaVLLMRetriever(index=qdrant, allowed_image_roots=(folder,))
        retriever.add_documents(loader.lazy_load())

        search_pages = create_page_search_tool(retriever, k=2)
        agent = create_agent(PageAgent(), tools=[search_pages])
        for question in QUESTIONS:
            answer = agent.invoke({"messages": [("user", question)]})["messages"][-1]
            print(f"{question}\n  {answer.text}")


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
