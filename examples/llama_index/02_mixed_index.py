"""Texts and images in one index: a text finds pictures and texts, and a picture finds its like.

    python examples/llama_index/02_mixed_index.py

The pictures are the demo's: printed pages and scenes of coloured shapes. An `IngestionPipeline` lets through what is
new, as `PageImageReader` says of each picture what it is.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.storage.docstore import SimpleDocumentStore

from jina_vllm_integrations import TokenStore
from jina_vllm_integrations.demo import demo_corpus, demo_engine
from jina_vllm_integrations.llama_index import JinaVLLMEmbedding, JinaVLLMMultiVectorRetriever, PageImageReader

NOTE = Document(
    text="Stock list 52, River Depot, 16 June\nrare cakes 4\nold ladders 52", metadata={"file_name": "note.txt"}
)
QUERIES = (
    "at the top a black star, at the bottom a grey triangle",
    "arriba tres círculos azules, abajo dos círculos naranja",
    "How many rare cakes are at River Depot?",
)


def names(found: list[NodeWithScore]) -> str:
    """Return the names of the files that nodes come from."""
    return ", ".join(node.metadata["file_name"] for node in found)


corpus = demo_corpus()
pictures = corpus.documents[0].path.parent


def main() -> None:
    """Run the example."""
    with demo_engine() as engine, TemporaryDirectory() as folder, TokenStore(folder) as token_store:
        embedding = JinaVLLMEmbedding(engine=engine)
        retriever = JinaVLLMMultiVectorRetriever(
            index=VectorStoreIndex([], embed_model=embedding),  # over any vector store
            embedding=embedding,
            token_store=token_store,
            allowed_image_roots=(pictures,),
            similarity_top_k=3,
        )
        reader = PageImageReader(glob="*.png")
        pipeline = IngestionPipeline(
            transformations=[],  # a page stays whole, and the retriever embeds it
            docstore=SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.DUPLICATES_ONLY,
        )
        for attempt in ("first", "second"):
            pages = reader.load_data(pictures)
            new = pipeline.run(documents=pages)
            retriever.insert_nodes(new)
            print(f"{attempt} run: {len(new)} embedded, {len(pages) - len(new)} unchanged")
        retriever.insert_nodes([NOTE])

        print()
        for query in QUERIES:
            print(f"{query}\n  {names(retriever.retrieve(query))}")
        print(f"{corpus.documents[30].name}, the picture itself\n  ", end="")
        print(names(retriever.retrieve(QueryBundle("", image_path=str(corpus.documents[30].path)))))


if __name__ == "__main__":  # vLLM's process imports this file again
    main()
