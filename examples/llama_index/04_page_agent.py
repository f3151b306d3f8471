"""An agent that searches the pages of a PDF, and sees them.

    python examples/llama_index/04_page_agent.py

A tool result has the text that the PDF has, and a thumbnail of each page. A stand-in for a language model makes it run
anywhere; with your own, ``FunctionAgent(tools=[search_pages], llm=llm)``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from llama_index.core.agent.workflow import FunctionAgent
from llms import page_agent
from scans import DPI, scanned

from jina_vllm_integrations import JinaEncoder
from jina_vllm_integrations.demo import demo_engine
from jina_vllm_integrations.llama_index import JinaVLLMMultiVectorRetriever, PageImageReader, create_page_search_tool
from jina_vllm_integrations.qdrant import QdrantIndex

QUESTIONS = ("green candles for sale", "shelf of light coats at Castle School")


async def ask(agent: FunctionAgent) -> None:
    """Print what an agent answers."""
    for question in QUESTIONS:
        print(f"{question}\n  {await agent.run(question)}")


def main() -> None:
    """Run the example."""
    with (
        demo_engine() as engine,
        TemporaryDirectory() as folder,
        QdrantIndex(JinaEncoder(engine, task="retrieval"), "pages", path=":memory:") as qdrant,
    ):
        reader = PageImageReader(dpi=DPI)
        retriever = JinaVLLMMultiVectorRetriever(qdrant=qdrant, allowed_image_roots=(folder,))
        retriever.insert_nodes(reader.load_data(scanned(Path(folder) / "lists.pdf")))

        search_pages = create_page_search_tool(retriever, k=2)
        asyncio.run(ask(FunctionAgent(tools=[search_pages], llm=page_agent())))


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
