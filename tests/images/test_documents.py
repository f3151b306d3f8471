"""Pages of strangers' documents, drawn where what they cost ends in a named error."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

import hostile_pdfs
from jina_vllm_integrations.errors import (
    BrokenPdfError,
    EncryptedPdfError,
    ImageError,
    ImageSizeError,
    OptionError,
    PageCostError,
    PageNotFoundError,
)
from jina_vllm_integrations.images import ImageLimits, PageSource, inspect
from jina_vllm_integrations.images.documents import DrawnPage, files
from jina_vllm_integrations.images.documents.jobs import Draw, Opening
from jina_vllm_integrations.images.documents.processes import Processes
from jina_vllm_integrations.images.handles import file_source
from page_files import RED, REPORT, WORD
from pdf_files import PdfPage, pdf

SOON = ImageLimits(max_page_seconds=2.0)
SMALL = ImageLimits(max_page_memory=300 * 2**20, max_page_seconds=60.0)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(content, name="report.pdf"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def drawing_processes(parent=None):
    """Return the processes that draw pages."""
    children = (parent or psutil.Process()).children(recursive=True)
    return [child for child in children if any("documents.process" in word for word in child.cmdline())]


@pytest.mark.parametrize(
    ("document", "limits", "error", "said"),
    [
        (hostile_pdfs.nested_forms, SMALL, PageCostError, "314,572,800 bytes of memory"),
        (hostile_pdfs.fine_tiling, SOON, PageCostError, "may take 2 s to read or draw"),
        (hostile_pdfs.many_rectangles, SOON, PageCostError, "may take 2 s to read or draw"),
        (hostile_pdfs.endless_page, SOON, ImageSizeError, "200 times as long as wide"),
    ],
)
def test_what_a_page_may_cost_is_limited(written, document, limits, error, said):
    """Whatever a few bytes ask for; the message names the file, and what to do."""
    with pytest.raises(error, match=said) as caught:
        inspect(PageSource(written(document())), limits).load()
    assert "report.pdf" in str(caught.value)


def test_a_content_that_inflates_is_drawn_or_refused(written):
    """A quarter of a gigabyte of blanks is no harm within the limits, and an error beyond them."""
    source = PageSource(written(hostile_pdfs.blanks()))
    assert inspect(source).load().getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises((PageCostError, BrokenPdfError)):
        inspect(source, ImageLimits(max_page_memory=100 * 2**20)).load()


class Begins:
    """A job that says when it goes to its process."""

    def __init__(self, job, begun):
        self.job, self.begun = job, begun

    def __reduce__(self):
        self.begun.set()
        return self.job.__reduce__()


class Changes:
    """Overwrites a file when a job goes to its process."""

    def __init__(self, path):
        self.path = path

    def set(self):
        """Change it."""
        self.path.write_bytes(self.path.with_name("other.pdf").read_bytes())


def test_other_pages_go_on_meanwhile(written):
    """One that takes long keeps one process, and no other."""
    processes, begun = Processes(2), threading.Event()
    slow, good = written(hostile_pdfs.fine_tiling(), "slow.pdf"), written(pdf(*REPORT))
    draw = Draw(number=0, dpi=72, max_pixels=10**6)

    def done(path, job, limits):
        opening = Opening(label=str(path), is_pdf=True, passwords=(), signature=(path.stat().st_ino,))
        with path.open("rb") as file:
            return processes.done(file.fileno(), opening, job, limits)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(done, slow, Begins(draw, begun), ImageLimits(max_page_seconds=5.0))
        assert begun.wait(30)
        for _ in range(20):
            assert done(good, draw, SOON).shape == (100, 200, 3)
        assert not waiting.done()
        with pytest.raises(PageCostError):
            waiting.result()
    processes.close()


def test_a_process_that_is_killed_is_replaced(written):
    """The page that it was at, or comes next, is drawn by another one."""
    source = PageSource(written(pdf(*REPORT)), dpi=72)
    assert inspect(source).load().getpixel((2, 2)) == RED
    for process in drawing_processes():
        process.kill()
        process.wait()
    assert inspect(source).load().getpixel((2, 2)) == RED


def test_pdfium_is_never_loaded_here(written, tmp_path):
    """Whether a page is looked at, drawn or found to be damaged."""
    program = (
        "import sys; from jina_vllm_integrations.images import PageSource, inspect\n"
        "inspect(PageSource(sys.argv[1])).load()\n"
        "try: inspect(PageSource(sys.argv[2]))\n"
        "except ValueError as error: print(type(error).__name__)\n"
        "print([name for name in sys.modules if 'pdfium' in name])\n"
    )
    bad = written(b"%PDF-1.4\n", "bad.pdf")
    command = [sys.executable, "-W", "error", "-c", program, written(pdf(*REPORT)), bad]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "BrokenPdfError\n[]\n"
    assert ended.stderr == ""


def test_nothing_is_left_behind(written):
    """The processes end with the one that they draw for, also when that is killed."""
    program = (
        "import sys; from jina_vllm_integrations.images import PageSource, inspect\n"
        "inspect(PageSource(sys.argv[1])).load(); print('drawn', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, written(pdf(*REPORT))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "drawn\n"
        drawing = drawing_processes(psutil.Process(owner.pid))
        assert drawing
        owner.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(drawing, timeout=30)
    assert alive == []


def test_a_fork_draws_by_processes_of_its_own(written):
    """It does not speak to its parent's."""
    source = PageSource(written(pdf(*REPORT)), dpi=72)
    inspect(source).load()
    child = os.fork()
    if child == 0:
        drawn = inspect(source).load().getpixel((2, 2)) == RED
        os._exit(0 if drawn else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert inspect(source).load().getpixel((2, 2)) == RED


def test_a_fork_waits_for_no_thread_that_it_has_not(written):
    """One of its parent's may have been remembering a page just then."""
    source = PageSource(written(pdf(*REPORT)), dpi=72)
    with files._SHAPES._lock, files._HASHES._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends it where it would wait for ever
            os._exit(0 if inspect(source).load().getpixel((2, 2)) == RED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_page_that_ends_its_process_takes_no_other_along(written, monkeypatch):
    """Though several are looked at by one job."""
    done = files.PROCESSES.done

    def ending(file, opening, job, limits):
        if 1 in job.numbers:
            raise BrokenPdfError("processes died over it")
        return done(file, opening, job, limits)

    monkeypatch.setattr(files.PROCESSES, "done", ending)
    document = files.DocumentFile.of(written(pdf(*REPORT)))
    facts = document.facts([0, 1, 2], dpi=72, limits=ImageLimits(), text=True)
    assert [isinstance(fact, BrokenPdfError) for fact in facts] == [False, True, False]


def test_a_page_whose_printed_number_is_no_text_is_read(written):
    """Without it."""
    content = pdf(*REPORT, labels="r").replace(b"/S/r", b"/P<FEFFD800>")
    document = files.DocumentFile.of(written(content))
    (facts,) = document.facts([0], dpi=72, limits=ImageLimits(), text=True)
    assert (facts.label, facts.text) == ("", REPORT[0].text)


def test_many_threads_draw_the_same_pages(written):
    """Each gets its own."""
    path = written(pdf(*REPORT))
    expected = [inspect(PageSource(path, page)).load().tobytes() for page in (1, 2, 3)]
    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(lambda page: inspect(PageSource(path, page)).load().tobytes(), [1, 2, 3] * 8))
    assert pages == expected * 8


def test_pixels_travel_as_they_are(written):
    """What another process gets is what would be drawn here."""
    handle = inspect(PageSource(written(pdf(*REPORT))))
    sent = pickle.loads(pickle.dumps(handle.drawn()))  # noqa: S301 - it was pickled here
    assert np.array_equal(np.asarray(sent.load()), np.asarray(handle.load()))


@pytest.mark.parametrize(
    ("uri", "page", "dpi"),
    [
        ("#page=2", 2, 150),
        ("#page=2&dpi=200", 2, 200),
        ("#page=2&dpi=99.5", 2, 99.5),
        ("#page=2&dpi=1000000", 2, 1e6),
        ("#page=2&dpi=150.0000001", 2, 150.0000001),
        ("#page=2&dpi=1e-07", 2, 1e-7),
    ],
)
def test_a_page_is_named_by_a_uri(written, uri, page, dpi):
    """Which survives JSON and metadata, and names a file with any characters."""
    path = written(pdf(*REPORT), "a %23 ü.pdf")
    source = PageSource(path, page, dpi=dpi)
    assert source.uri == path.as_uri() + uri
    assert inspect(source.uri).size == inspect(source).size
    assert file_source(source.uri) == source


@pytest.mark.parametrize("fragment", ["page=0", "page=x", "page=1&dpi=0", "page=1&dpi=nan", "page=1&zoom=2", "nothing"])
def test_a_uri_of_no_page_is_an_error(written, fragment):
    """It names the rule, or what is wrong with it."""
    with pytest.raises(ImageError, match="a file URI must"):
        inspect(f"{written(pdf(*REPORT)).as_uri()}#{fragment}")


@pytest.mark.parametrize(
    "options",
    [
        {"file": None},
        {"file": 5},
        {"page": 0},
        {"page": 1.5},
        {"dpi": 0},
        {"dpi": "150"},
        {"dpi": 10**400},
        {"dpi": 1e308},
        {"passwords": "secret"},
        {"passwords": None},
        {"passwords": b"secret"},
        {"passwords": (2024,)},
        {"passwords": ("\udcff",)},
    ],
)
def test_a_source_of_no_page_is_an_error(options):
    """When it is made; and no message says a password."""
    with pytest.raises(OptionError) as caught:
        PageSource(**{"file": "report.pdf", **options})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("size", [(612, 792), (60, 60), (595.276, 841.89)])
@pytest.mark.parametrize("limits", [ImageLimits(), ImageLimits(max_pixels=1000), ImageLimits(max_pixels=10)])
def test_what_is_drawn_has_the_size_that_was_said(written, size, limits):
    """To the pixel, also where a side is a whole number of them: a Letter page at 150 dpi."""
    handle = inspect(PageSource(written(pdf(PdfPage(size=size)))), limits)
    assert handle.load().size == handle.size


def test_a_file_that_changes_before_it_is_drawn_is_an_error(written):
    """Not what it is now, under the key of what it was: a job may wait for its process for long."""
    path = written(pdf(*REPORT))
    page, _ = DrawnPage.of(PageSource(path), ImageLimits())
    written(pdf(*REPORT[::-1]), "other.pdf")
    job = Begins(Draw(number=0, dpi=150, max_pixels=10**6), Changes(path))
    with pytest.raises(PageNotFoundError, match="was changed"):
        page.file.done(job, ImageLimits())


@pytest.mark.parametrize("most", [2**20, 2**62, 2**64])
def test_any_limit_of_memory_may_be_set(written, most):
    """Also none that a machine can have."""
    limits = ImageLimits(max_page_memory=most, max_page_seconds=60.0)
    with suppress(PageCostError):
        assert inspect(PageSource(written(pdf(*REPORT))), limits).load().size == (417, 209)


def test_a_limit_of_memory_that_was_set_before_holds(written):
    """As clusters set one for every user, who cannot raise it."""
    program = (
        "import os, resource, sys; from jina_vllm_integrations.images import PageSource, inspect\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))\n"
        "print(inspect(PageSource(sys.argv[1])).size, flush=True)\n"
        "import psutil; [child] = psutil.Process().children()\n"
        "print(child.rlimit(psutil.RLIMIT_AS) == (8 * 2**30, 8 * 2**30))\n"
    )
    command = [sys.executable, "-c", program, written(pdf(*REPORT))]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "(417, 209)\nTrue\n"


def test_processes_that_die_are_counted_where_nobody_hears_how(written):
    """A program that ignores the ends of its children, as servers do, never learns it, and must not try for ever."""
    program = (
        "import signal, sys; from jina_vllm_integrations.images import PageSource, inspect\n"
        "from jina_vllm_integrations.images.documents import processes\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "launch = processes.launch\n"
        "def killed(*arguments):\n"
        "    process = launch(*arguments); process.kill(); return process\n"
        "processes.launch = killed\n"
        "try: inspect(PageSource(sys.argv[1]))\n"
        "except ValueError as error: print(type(error).__name__)\n"
    )
    command = [sys.executable, "-c", program, written(pdf(*REPORT))]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "BrokenPdfError\n"


def test_what_is_no_page_is_an_error(written):
    """Each kind by its own name."""
    path = written(pdf(*REPORT))
    with pytest.raises(BrokenPdfError, match=r"page 4 of .*it has 3 pages"):
        inspect(PageSource(path, 4))
    with pytest.raises(PageNotFoundError, match="No such file"):
        inspect(PageSource(path.with_name("other.pdf")))
    locked = written(pdf(*REPORT, password=WORD), "locked.pdf")
    with pytest.raises(EncryptedPdfError, match="no password was given"):
        inspect(PageSource(locked))
    opened = PageSource(locked, passwords=("wrong", WORD))
    assert inspect(opened).size == inspect(PageSource(path)).size
    assert WORD not in repr(opened) + opened.uri


def test_numpy_numbers_are_numbers(written):
    """As a resolution."""
    assert inspect(PageSource(written(pdf(*REPORT)), dpi=np.float32(72))).size == (200, 100)


def test_a_relative_path_stays_where_it_is(written, monkeypatch, tmp_path):
    """When the process goes to another folder."""
    path = written(pdf(*REPORT))
    monkeypatch.chdir(tmp_path)
    source = PageSource("report.pdf")
    monkeypatch.chdir("/")
    assert source.path == path
    assert inspect(source).size == (417, 209)


def test_a_filled_field_is_drawn_without_a_form(written):
    """Tools that split PDFs leave the fields of a page, and forget the form."""
    whole = pdf(PdfPage(marks="field"))
    split = whole.replace(b"/AcroForm", b"/NoForm__")
    assert split != whole
    drawn = [
        inspect(PageSource(written(content, name), dpi=72)).load() for content, name in ((whole, "a"), (split, "b"))
    ]
    assert drawn[0].tobytes() == drawn[1].tobytes()
    assert drawn[0].getpixel((3, 97)) == (0, 255, 0)


def test_mutated_pdfs_end_in_named_errors(written):
    """Three hundred damaged documents: pages or errors of this package, none beyond the limits."""
    random = np.random.default_rng(3)
    original = pdf(*REPORT)
    outcomes = set()
    for number in range(300):
        content = bytearray(original)
        for place in random.integers(0, len(content), random.integers(1, 30)):
            content[place] = random.integers(0, 256)
        path = written(bytes(content), f"{number % 3}.pdf")
        try:
            outcomes.add(inspect(PageSource(path), SOON).load().mode)
        except (BrokenPdfError, EncryptedPdfError, PageCostError, ImageError) as error:
            outcomes.add(type(error).__name__)
    assert {"RGB", "BrokenPdfError"} <= outcomes


def test_documents_are_no_business_of_a_path(tmp_path):
    """A PDF as an image by itself stays an error, which says what it is."""
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(*REPORT))
    with pytest.raises(ImageError):
        inspect(Path(path))
