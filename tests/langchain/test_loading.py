"""The LangChain loader: one document a page, which any store takes, with an image that can be embedded and ranked."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore
from PIL import Image

from jina_vllm_integrations import JinaEncoder, MissingExtraError, OptionError
from jina_vllm_integrations.errors import BrokenPdfError, EncryptedPdfError, PageNotFoundError
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.images.documents import DocumentFile, files
from jina_vllm_integrations.langchain import JinaVLLMEmbeddings, JinaVLLMRerank, JinaVLLMRetriever, PageImageLoader
from jina_vllm_integrations.llama_index import PageImageReader
from jina_vllm_integrations.qdrant import QdrantIndex
from jina_vllm_integrations.testing import FakeEngine
from page_files import folder_with, picture_file
from pdf_files import GARBLED, PdfPage, is_open, pdf

WORD = "sesame"
REPORT = (
    PdfPage(text="The annual report", colour=(1, 0, 0)),
    PdfPage(text="Figures", colour=(0, 1, 0), rotate=90),
    PdfPage(colour=(0, 0, 1)),
)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a report of three pages and a scan."""
    return folder_with(REPORT, tmp_path / "documents")


@pytest.fixture
def make(tmp_path, folder):
    """Return a maker of loaders of that folder, or of another path."""
    return lambda path=folder, **options: PageImageLoader(
        path, **{"image_folder": tmp_path / "images", "image_format": "png", **options}
    )


def pickled(loader):
    """Return a loader as another process gets it."""
    return pickle.loads(pickle.dumps(loader))  # noqa: S301 - it was pickled here


def sha256(path):
    """Return the digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_one_document_a_page(make, folder):
    """With what is known of the page, in LangChain's names, and no more."""
    documents = make(dpi=72).load()
    assert [document.page_content for document in documents] == [
        *("The annual report", "Figures", "[page 3 of documents/report.pdf]", "[page 1 of documents/scan.png]")
    ]
    report = [
        {
            "source": str(folder / "report.pdf"),
            "page": number,
            "total_pages": 3,
            "page_label": label,
            "image_uri": document.metadata["image_uri"],
            "image_sha256": sha256(document.metadata["image_uri"]),
            "width": width,
            "height": height,
            "dpi": 72.0,
        }
        for number, (document, label, width, height) in enumerate(
            zip(documents, ("i", "ii", "iii"), (200, 100, 200), (100, 200, 100), strict=False)
        )
    ]
    scan = {
        "source": str(folder / "scan.png"),
        "page": 0,
        "total_pages": 1,
        "image_uri": str(folder / "scan.png"),
        "image_sha256": sha256(folder / "scan.png"),
        "width": 40,
        "height": 30,
    }
    assert [document.metadata for document in documents] == [*report, scan]
    assert json.loads(json.dumps([document.metadata for document in documents])) == [*report, scan]


def test_it_is_langchains(make):
    """Every way that a loader has gives the same documents."""
    loader = make()
    assert isinstance(loader, BaseLoader)
    documents = loader.load()
    assert list(loader.lazy_load()) == documents
    assert asyncio.run(loader.aload()) == documents


@pytest.mark.parametrize("kind", [str, Path, lambda path: [path / "report.pdf", str(path / "scan.png")]])
def test_paths_come_in_many_kinds(make, folder, kind):
    """And may be loaded as often as one likes, those of a generator too."""
    loader = make(kind(folder))
    assert loader.load() == loader.load() == make().load()
    loader = make(path for path in sorted(folder.iterdir()))
    assert loader.load() == loader.load() == make().load()


def test_the_text_is_bounded(make, tmp_path):
    """To the end of a word."""
    (tmp_path / "long.pdf").write_bytes(pdf(PdfPage(text="many words " * 300, size=(20_000, 100))))
    (document,) = make(tmp_path / "long.pdf", dpi=10).load()
    assert 1990 < len(document.page_content) <= 2000
    (document,) = make(tmp_path / "long.pdf", dpi=10, max_characters=12).load()
    assert document.page_content == "many words"


def test_pages_are_written_when_their_turn_comes(make):
    """Both ways: behind the first document, nothing was written."""
    loader = make()
    documents = loader.lazy_load()
    next(documents)
    assert len(list(loader.image_folder.glob("*.png"))) == 1
    next(documents)
    assert len(list(loader.image_folder.glob("*.png"))) == 2
    documents.close()

    async def first_two():
        documents = make(image_folder=loader.image_folder / "async").alazy_load()
        for count in (1, 2):
            await anext(documents)
            assert len(list((loader.image_folder / "async").glob("*.png"))) == count
        await documents.aclose()

    asyncio.run(first_two())


def test_an_index_finds_changed_pixels(make, folder):
    """Only the page that was changed is written again, and only its old self is deleted."""
    with FakeEngine() as engine:
        store = InMemoryVectorStore(JinaVLLMEmbeddings(engine=engine))
        records = InMemoryRecordManager("pages")
        records.create_schema()

        def indexed():
            done = index(make(), records, store, cleanup="incremental", source_id_key="source", key_encoder="sha256")
            return done["num_added"], done["num_skipped"], done["num_deleted"]

        assert indexed() == (4, 0, 0)
        assert indexed() == (0, 4, 0)
        changed = PdfPage(text="Figures", colour=(0, 1, 1), rotate=90)
        (folder / "report.pdf").write_bytes(pdf(REPORT[0], changed, REPORT[2], labels="r"))
        assert indexed() == (1, 3, 1)
        Image.new("RGB", (40, 30), "blue").save(folder / "scan.png")
        assert indexed() == (1, 3, 1)


def test_pages_can_be_ranked(make, folder):
    """By their images, once their folders are allowed."""
    loader = make()
    with FakeEngine() as engine:
        reranker = JinaVLLMRerank(engine=engine, allowed_image_roots=(loader.image_folder, folder), top_n=None)
        found = reranker.compress_documents(loader.load(), "Where is the total?")
    assert {document.metadata["image_uri"] for document in found} == {
        document.metadata["image_uri"] for document in loader.load()
    }


def test_what_cannot_be_read_is_skipped_if_that_was_chosen(make, folder):
    """And listed, both ways; otherwise it raises after the documents before it."""
    (folder / "a.pdf").write_bytes(pdf(REPORT[0], GARBLED))
    (folder / "b.pdf").write_bytes(pdf(REPORT[0], password=WORD))
    listed = [(folder / "a.pdf", 1, BrokenPdfError), (folder / "b.pdf", None, EncryptedPdfError)]
    loader = make(on_error="skip")
    for load in (loader.load, lambda: asyncio.run(loader.aload())):
        assert len(load()) == 5
        assert [(each.source, each.number, type(each.error)) for each in loader.skipped] == listed
    assert len(make(on_error="skip", password=WORD).load()) == 6

    documents = make().lazy_load()
    assert next(documents).metadata["page"] == 0
    with pytest.raises(BrokenPdfError, match=r"page 2 of .*a\.pdf"):
        next(documents)
    with pytest.raises(BrokenPdfError, match=r"page 2 of .*a\.pdf"):
        asyncio.run(make().aload())


def test_options_are_the_readers(make, folder, tmp_path, capsys):
    """Each of them arrives."""
    (document,) = make(glob="*.png").load()
    assert document.metadata["source"] == str(folder / "scan.png")
    large = make(folder / "report.pdf", image_limits=ImageLimits(max_pixels=10_000), show_progress=True).load()
    assert all(document.metadata["width"] * document.metadata["height"] <= 10_000 for document in large)
    assert all(document.metadata["dpi"] < 150 for document in large)
    assert "reading: 3item" in capsys.readouterr().err
    with pytest.raises(OptionError, match="max_characters must be a whole number from 1"):
        make(max_characters=0)
    with pytest.raises(PageNotFoundError, match="names none"):
        make(tmp_path / "missing").load()


def test_making_one_reads_nothing(make, tmp_path):
    """What is not there is an error when it is loaded, and may have come by then."""
    loader = make(tmp_path / "later.pdf")
    (tmp_path / "later.pdf").write_bytes(pdf(*REPORT))
    assert len(loader.load()) == 3


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_load_the_same(make, folder, copied):
    """Also in another process, and after a load that skipped something."""
    (folder / "a.pdf").write_bytes(b"broken")
    loader = make(on_error="skip")
    documents = loader.load()
    twin = copied(loader)
    assert [str(each.error) for each in twin.skipped] == [str(each.error) for each in loader.skipped]
    assert twin.load() == documents


def test_the_event_loop_is_not_blocked(make, monkeypatch):
    """While a page is rendered, others have their turn."""
    rendering, may_go_on = threading.Event(), threading.Event()
    work = DocumentFile.done

    def wait_and_work(*given):
        rendering.set()
        assert may_go_on.wait(30)
        return work(*given)

    monkeypatch.setattr(DocumentFile, "done", wait_and_work)

    async def load():
        task = asyncio.create_task(make().aload())
        await asyncio.to_thread(rendering.wait, 30)
        may_go_on.set()
        return await task

    assert len(asyncio.run(load())) == 4


def test_a_cancelled_load_stops_after_the_page_that_it_is_at(make, folder, monkeypatch):
    """Cancelling does not wait for it; no other page is written, and the file is closed."""
    rendering, may_go_on = threading.Event(), threading.Event()
    threads = set(threading.enumerate())
    work = DocumentFile.done

    def wait_and_work(*given):
        rendering.set()
        assert may_go_on.wait(30)
        return work(*given)

    monkeypatch.setattr(DocumentFile, "done", wait_and_work)

    async def cancel():
        task = asyncio.create_task(make().aload())
        await asyncio.to_thread(rendering.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    may_go_on.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
    assert not is_open(folder / "report.pdf")
    assert len(list((folder.parent / "images").glob("*.png"))) <= 1


def test_many_loads_at_once(make):
    """One loader for many coroutines."""
    loader = make()

    async def load():
        return await asyncio.gather(*(loader.aload() for _ in range(8)))

    assert asyncio.run(load()) == [loader.load()] * 8


def test_without_pypdfium2_the_error_names_the_extra(make, monkeypatch):
    """LangChain's own extra does not bring it."""
    monkeypatch.setattr(files, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"jina-vllm-integrations\[pdf\]"):
        make().load()


def test_asking_for_it_loads_no_pdf_library():
    """Nor does making one."""
    script = (
        "import sys; from jina_vllm_integrations.langchain import PageImageLoader; PageImageLoader('x'); "
        "print(sorted({'pypdfium2', 'vllm', 'torch', 'langchain_community'} & sys.modules.keys()))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"


@pytest.mark.parametrize("named", [lambda one, other: [one, other], lambda one, other: [one / "scan.png", other]])
def test_pages_of_equal_names_have_texts_of_their_own(make, tmp_path, named):
    """By the path from the folder above what is loaded, because LangChain takes equal texts for one document."""
    folders = [tmp_path / place / "scans" for place in ("north", "south")]
    for folder in folders:
        folder.mkdir(parents=True)
        picture_file(folder / "scan.png")
    texts = [document.page_content for document in make(named(*folders)).load()]
    assert texts == ["[page 1 of north/scans/scan.png]", "[page 1 of south/scans/scan.png]"]
    assert [document.page_content for document in make(tmp_path, glob="*/scans/*").load()] == [
        f"[page 1 of {tmp_path.name}/{place}/scans/scan.png]" for place in ("north", "south")
    ]


def test_a_page_that_is_loaded_again_takes_its_own_place(make, folder, tmp_path):
    """Its id is of its path and number, and LlamaIndex's reader gives it the same."""
    loader = make()
    embeddings = JinaVLLMEmbeddings(engine=FakeEngine())
    store = InMemoryVectorStore(embeddings)
    roots = (folder, loader.image_folder)
    with QdrantIndex(JinaEncoder(embeddings.engine, task="retrieval"), "pages", path=":memory:") as index:
        retrievers = [
            JinaVLLMRetriever(vectorstore=store, allowed_image_roots=roots),
            JinaVLLMRetriever(index=index, allowed_image_roots=roots),
        ]
        for retriever in retrievers:
            first = retriever.add_documents(loader.lazy_load())
            assert retriever.add_documents(make().lazy_load()) == first
            assert len(set(first)) == 4
            assert [document.id for document in retriever.get_by_ids(first)] == first
            assert len(retriever.invoke("Figures", k=9)) == 4
    documents = PageImageReader(image_folder=tmp_path / "images").load_data(folder)
    assert [(document.id_, document.text) for document in documents] == [
        (document.id, document.page_content) for document in loader.load()
    ]


def test_chosen_pages(make):
    """Are loaded with the numbers and ids that they have among all; a malformed choice is named at once."""
    everything = make().load()
    assert make(pages="3,1").load() == [everything[0], everything[2], everything[3]]
    with pytest.raises(OptionError, match="pages must be numbers from 1"):
        make(pages="3-1")
