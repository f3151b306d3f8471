"""The LlamaIndex reader: one document a page, whose image survives whatever LlamaIndex does with it."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import pickle
import threading
from pathlib import Path
from uuid import UUID

import pytest
from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.embeddings.mock_embed_model import MockMultiModalEmbedding
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import ImageDocument, ImageNode, MetadataMode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from PIL import Image

from jina_vllm_integrations import BrokenPdfError, EncryptedPdfError, ImageLimits, OptionError, PageNotFoundError
from jina_vllm_integrations.images.documents import DocumentFile
from jina_vllm_integrations.llama_index import JinaVLLMRerank, PageImageReader
from jina_vllm_integrations.testing import FakeEngine
from page_files import folder_with
from pdf_files import GARBLED, PdfPage, is_open, pdf

WORD = "sesame"
REPORT = (
    PdfPage(text="The annual report", colour=(1, 0, 0)),
    PdfPage(text="Figures", colour=(0, 1, 0), size=(100, 200)),
    PdfPage(colour=(0, 0, 1)),
)
TEXTS = ["The annual report", "Figures", "[page 3 of documents/report.pdf]", "[page 1 of documents/scan.png]"]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a report of three pages and a scan."""
    return folder_with(REPORT, tmp_path / "documents")


@pytest.fixture
def make(tmp_path):
    """Return a maker of readers."""
    return lambda **options: PageImageReader(**{"image_folder": tmp_path / "images", "image_format": "png", **options})


@pytest.fixture
def rendering(monkeypatch):
    """Return an event that a file is being read, and one that lets it go on."""
    begun, may_go_on = threading.Event(), threading.Event()
    work = DocumentFile.done

    def wait_and_work(*given):
        begun.set()
        assert may_go_on.wait(30)
        return work(*given)

    monkeypatch.setattr(DocumentFile, "done", wait_and_work)
    return begun, may_go_on


def pickled(reader):
    """Return a reader as another process gets it."""
    return pickle.loads(pickle.dumps(reader))  # noqa: S301 - it was pickled here


def sha256(path):
    """Return the digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def colours(nodes):
    """Return the colour in the left upper corner of each node's image, found by its path."""
    return [Image.open(node.image_path).convert("RGB").getpixel((1, 1)) for node in nodes]


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_one_document_a_page(make, folder):
    """With what is known of the page, in LlamaIndex's names, and no more."""
    documents = make(dpi=72).load_data(folder)
    assert {type(document) for document in documents} == {ImageDocument}
    assert [document.text for document in documents] == TEXTS
    report = [
        {
            "file_path": str(folder / "report.pdf"),
            "file_name": "report.pdf",
            "page_label": label,
            "page_number": number,
            "total_pages": 3,
            "image_uri": document.image_path,
            "image_sha256": sha256(document.image_path),
            "width": width,
            "height": height,
            "dpi": 72.0,
        }
        for number, (document, label, width, height) in enumerate(
            zip(documents, ("i", "ii", "iii"), (200, 100, 200), (100, 200, 100), strict=False), start=1
        )
    ]
    scan = {
        "file_path": str(folder / "scan.png"),
        "file_name": "scan.png",
        "page_label": "1",
        "page_number": 1,
        "total_pages": 1,
        "image_uri": str(folder / "scan.png"),
        "image_sha256": sha256(folder / "scan.png"),
        "width": 40,
        "height": 30,
    }
    assert [document.metadata for document in documents] == [*report, scan]
    assert documents[3].image_path == str(folder / "scan.png")
    assert {document.image_mimetype for document in documents} == {"image/png"}


def test_what_embeddings_and_models_read(make, folder):
    """The page alone, and for a model what to cite."""
    document = make().load_data(folder)[0]
    assert document.get_content(MetadataMode.EMBED) == "The annual report"
    assert document.get_content(MetadataMode.LLM) == (
        f"file_path: {folder / 'report.pdf'}\npage_label: i\n\nThe annual report"
    )


def test_ids_stay(make, folder, monkeypatch):
    """Whether a path is relative or not, and whatever is on the page; they are UUIDs, as Qdrant needs."""
    ids = [document.id_ for document in make().load_data(folder)]
    assert len({UUID(each) for each in ids}) == 4
    (folder / "report.pdf").write_bytes(pdf(*reversed(REPORT)))
    monkeypatch.chdir(folder)
    assert [document.id_ for document in make(dpi=50).load_data(["report.pdf", Path("scan.png")])] == ids


def test_it_is_llama_indexs(make, folder):
    """Every way that a reader has gives the same documents."""
    reader = make()
    assert isinstance(reader, BaseReader)
    documents = reader.load_data(folder)
    assert list(reader.lazy_load_data(folder)) == documents
    assert asyncio.run(reader.aload_data(folder)) == documents
    assert list(asyncio.run(reader.alazy_load_data(folder))) == documents
    assert reader.load_data(file=[folder / "report.pdf", str(folder / "scan.png")], extra_info={}) == documents


def test_extra_info(make, folder):
    """Goes into each document, where models see it; the caller's word counts, and his dict stays his."""
    extra = {"file_path": "archive/7", "customer": "ACME"}
    for document in make().load_data(folder / "report.pdf", extra_info=extra):
        assert document.metadata["file_path"] == "archive/7"
        assert document.get_content(MetadataMode.EMBED).startswith("customer: ACME\n\n")
        document.metadata["customer"] = "another"
    assert extra == {"file_path": "archive/7", "customer": "ACME"}


@pytest.mark.parametrize("as_id", [False, True])
def test_through_simple_directory_reader(make, folder, as_id):
    """Both ways, with what that adds; embeddings still see the page alone."""
    (folder / "note.txt").write_text("a note")
    reader = make()
    through = SimpleDirectoryReader(
        folder, file_extractor={".pdf": reader, ".png": reader}, filename_as_id=as_id, raise_on_error=True
    )
    for documents in (through.load_data(), asyncio.run(through.aload_data())):
        assert [document.text for document in documents] == ["a note", *TEXTS]
        pages = documents[1:]
        assert colours(pages) == [RED, GREEN, BLUE, RED]
        for page, direct in zip(pages, reader.load_data(folder), strict=True):
            assert page.metadata.items() >= direct.metadata.items()
            assert page.metadata["file_type"] in ("application/pdf", "image/png")
            assert page.get_content(MetadataMode.EMBED) == direct.get_content(MetadataMode.EMBED)
            assert page.get_content(MetadataMode.LLM) == direct.get_content(MetadataMode.LLM)
            assert as_id or page.id_ == direct.id_
        assert ("report.pdf_part_0" in pages[0].id_) == as_id


def test_documents_survive_json(make, folder):
    """Image, text and what is hidden."""
    for document in make().load_data(folder):
        assert ImageDocument.from_json(document.to_json()) == document
        assert json.loads(document.to_json())["image_resource"]["path"] == document.image_path
        assert pickled(document) == document


def test_documents_survive_splitting(make, folder, tmp_path):
    """A page is one node, which is an image; a longer text would be several nodes with the same image."""
    reader = make()
    nodes = SentenceSplitter()(reader.load_data(folder))
    assert {type(node) for node in nodes} == {ImageNode}
    assert [node.text for node in nodes] == TEXTS
    assert colours(nodes) == [RED, GREEN, BLUE, RED]
    assert [node.metadata["image_sha256"] for node in nodes] == [sha256(node.image_path) for node in nodes]
    assert [node.ref_doc_id for node in nodes] == [document.id_ for document in reader.load_data(folder)]
    (tmp_path / "long.pdf").write_bytes(pdf(PdfPage(text="many words " * 2000, size=(19_000, 100))))
    (document,) = make(dpi=10).load_data(tmp_path / "long.pdf")
    assert 1990 < len(document.text) <= 2000
    assert len(SentenceSplitter()([document])) == 1
    (document,) = make(dpi=10, max_characters=12).load_data(tmp_path / "long.pdf")
    assert document.text == "many words"


@pytest.mark.parametrize("transformations", [[SentenceSplitter()], [SentenceSplitter(), MockEmbedding(embed_dim=2)]])
def test_documents_survive_the_ingestion_cache(make, tmp_path, transformations):
    """Another picture at the same path is not served from the cache, and one that is served has its image."""
    pipeline = IngestionPipeline(transformations=transformations)
    picture = tmp_path / "page.png"
    found = []
    for colour in ("red", "blue", "red"):
        Image.new("RGB", (40, 30), colour).save(picture)
        (node,) = pipeline.run(documents=make().load_data(picture))
        assert (node.metadata["image_sha256"], node.image_path) == (sha256(picture), str(picture))
        found.append(node.node_id)
    assert found[0] == found[2] != found[1]


def test_a_document_store_finds_changed_pixels(make, folder):
    """Only the page that was changed is ingested again, in place of its old self."""
    vectors = SimpleVectorStore()
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), MockEmbedding(embed_dim=2)],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=vectors,
    )
    assert len(pipeline.run(documents=make().load_data(folder))) == 4
    assert pipeline.run(documents=make().load_data(folder)) == []
    Image.new("RGB", (40, 30), "blue").save(folder / "scan.png")
    (node,) = pipeline.run(documents=make().load_data(folder))
    assert colours([node]) == [BLUE]
    assert len(vectors.data.embedding_dict) == 4
    (folder / "scan.png").unlink()
    assert pipeline.run(documents=make().load_data(folder)) == []
    assert len(vectors.data.embedding_dict) == 3


def test_documents_survive_indexes(make, folder, tmp_path):
    """None is left out for want of a text, and what is found has its image; also after the index was stored."""
    documents = make().load_data(folder)
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=2))
    assert len(index.as_retriever(similarity_top_k=9).retrieve("red")) == 4
    models = {"embed_model": MockEmbedding(embed_dim=2), "image_embed_model": MockMultiModalEmbedding(embed_dim=2)}
    index = MultiModalVectorStoreIndex.from_documents(documents, **models)
    found = index.as_retriever(similarity_top_k=1, image_similarity_top_k=9).retrieve("red")
    assert sorted(colours(each.node for each in found)) == sorted([RED, GREEN, BLUE, RED])
    index.docstore.persist(str(tmp_path / "docstore.json"))
    stored = SimpleDocumentStore.from_persist_path(str(tmp_path / "docstore.json")).docs.values()
    assert sorted(colours(stored)) == sorted([RED, GREEN, BLUE, RED])
    assert {type(node) for node in stored} == {ImageNode}


def test_pages_can_be_ranked(make, folder):
    """By their images, once their folders are allowed."""
    reader = make()
    index = VectorStoreIndex.from_documents(reader.load_data(folder), embed_model=MockEmbedding(embed_dim=2))
    with FakeEngine() as engine:
        reranker = JinaVLLMRerank(engine=engine, allowed_image_roots=(reader.image_folder, folder), top_n=None)
        found = reranker.postprocess_nodes(index.as_retriever(similarity_top_k=9).retrieve("red"), query_str="red")
    assert sorted(colours(each.node for each in found)) == sorted([RED, GREEN, BLUE, RED])


def test_pages_are_written_when_their_turn_comes(make, folder):
    """Behind the first document, nothing was written."""
    reader = make()
    documents = reader.lazy_load_data(folder)
    for count in (1, 2):
        next(documents)
        assert len(list(reader.image_folder.glob("*.png"))) == count
    documents.close()
    assert len(list(reader.image_folder.glob("*.png"))) == 2


def test_what_cannot_be_read_is_skipped_if_that_was_chosen(make, folder):
    """And listed, both ways; otherwise it raises."""
    (folder / "a.pdf").write_bytes(pdf(REPORT[0], GARBLED))
    (folder / "b.pdf").write_bytes(pdf(REPORT[0], password=WORD))
    listed = [(folder / "a.pdf", 1, BrokenPdfError), (folder / "b.pdf", None, EncryptedPdfError)]
    reader = make(on_error="skip")
    for load in (reader.load_data, lambda path: asyncio.run(reader.aload_data(path))):
        assert len(load(folder)) == 5
        assert [(each.source, each.number, type(each.error)) for each in reader.skipped] == listed
    assert len(make(on_error="skip", password=WORD).load_data(folder)) == 6
    for load in (make().load_data, lambda path: asyncio.run(make().aload_data(path))):
        with pytest.raises(BrokenPdfError, match=r"page 2 of .*a\.pdf"):
            load(folder)


def test_options_are_the_readers(make, folder, tmp_path, capsys):
    """Each of them arrives, and wrong ones are told when the reader is made."""
    (document,) = make(glob="*.png").load_data(folder)
    assert document.metadata["file_name"] == "scan.png"
    limits = ImageLimits(max_pixels=10_000)
    large = make(image_limits=limits, show_progress=True).load_data(folder / "report.pdf")
    assert all(document.metadata["width"] * document.metadata["height"] <= 10_000 for document in large)
    assert "reading: 3item" in capsys.readouterr().err
    for wrong in ({"max_characters": 0}, {"dpi": -1}, {"on_error": "ignore"}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            make(**wrong)
    with pytest.raises(PageNotFoundError, match="names none"):
        make().load_data(tmp_path / "missing")
    with pytest.raises(OptionError, match="reads local files, got fs=object"):
        make().load_data(folder, fs=object())


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_load_the_same(make, folder, copied):
    """Also in another process, as LlamaIndex's workers are."""
    reader = make(on_error="skip", dpi=72)
    assert copied(reader).load_data(folder) == reader.load_data(folder)


def test_the_event_loop_is_not_blocked(make, folder, rendering):
    """While a page is rendered, others have their turn."""
    begun, may_go_on = rendering

    async def load(way):
        task = asyncio.create_task(way(folder))
        assert await asyncio.to_thread(begun.wait, 30)
        may_go_on.set()
        return await task

    for way in (make().aload_data, make().alazy_load_data):
        begun.clear()
        may_go_on.clear()
        assert len(list(asyncio.run(load(way)))) == 4


def test_a_cancelled_load_stops_after_the_page_that_it_is_at(make, folder, rendering):
    """Cancelling does not wait for it; no other page is written, and the file is closed."""
    begun, may_go_on = rendering
    threads = set(threading.enumerate())

    async def cancel():
        task = asyncio.create_task(make().aload_data(folder))
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    may_go_on.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
    assert not is_open(folder / "report.pdf")
    assert len(list((folder.parent / "images").glob("*.png"))) <= 1


def test_chosen_pages(make, folder):
    """Are read with the numbers and ids that they have among all; a malformed choice is named at once."""
    everything = make().load_data(folder)
    assert make(pages="3,1").load_data(folder) == [everything[0], everything[2], everything[3]]
    with pytest.raises(OptionError, match="pages must be numbers from 1"):
        make(pages="3-1")
