"""Texts and images in one index: a text finds pictures and texts, and a picture finds its like.

    python examples/langchain/02_mixed_index.py

The pictures are the demo's: printed pages and scenes of coloured shapes.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore

from jina_vllm_integrations import ImageInput, TokenStore
from jina_vllm_integrations.demo import demo_corpus, demo_engine
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRetriever, PageImageLoader

NOTE = Document("Stock list 52, River Depot, 16 June\nrare cakes 4\nold ladders 52", metadata={"source": "note.txt"})
QUERIES = (
    "at the top a black star, at the bottom a grey triangle",
    "arriba tres círculos azules, abajo dos círculos naranja",
    "How many rare cakes are at River Depot?",
)


def names(documents: list[Document]) -> str:
    """Return the names of the files that documents come from."""
    return ", ".join(document.metadata["source"].rpartition("/")[2] for document in documents)


corpus = demo_corpus()
pictures = corpus.documents[0].path.parent


def main() -> None:
    """Run the example."""
    with demo_engine() as engine, TemporaryDirectory() as folder, TokenStore(folder) as token_store:
        retriever = JinaVLLMRetriever(
            vectorstore=InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine)),
            token_store=token_store,
            allowed_image_roots=(pictures,),
            k=3,
        )
        loader = PageImageLoader(pictures, glob="*.png")
        records = InMemoryRecordManager("pictures")
        records.create_schema()
        for attempt in ("first", "second"):
            report = index(
                loader, records, retriever, cleanup="incremental", source_id_key="source", key_encoder="sha256"
            )
            print(f"{attempt} run: {report['num_added']} embedded, {report['num_skipped']} unchanged")
        retriever.add_documents([NOTE])

        print()
        for query in QUERIES:
            print(f"{query}\n  {names(retriever.invoke(query))}")
        print(f"{corpus.documents[30].name}, the picture itself\n  ", end="")
        print(names(retriever.invoke(ImageInput(corpus.documents[30].path))))


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
