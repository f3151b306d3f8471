"""Which files are read, in which order, and what is said of those that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jina_vllm_integrations.errors import MissingExtraError, OptionError, PageError, PageNotFoundError
from jina_vllm_integrations.foundation.opening import Beneath
from jina_vllm_integrations.images import inspect
from jina_vllm_integrations.images.documents import files
from jina_vllm_integrations.pages import ImageFolder, PageReader
from page_files import RED, REPORT, corners, picture_file
from pdf_files import PdfPage


def test_a_folder_is_read_in_the_order_of_names(make, write, folder):
    """To any depth; nothing hidden, and nothing that has no pages."""
    write("b.pdf", REPORT[0])
    write("a/2.pdf", REPORT[0])
    picture_file(folder / "a/1.JPG", format="JPEG")
    write(".hidden/x.pdf", REPORT[0])
    write("._b.pdf", REPORT[0])
    (folder / "notes.txt").write_text("no page")
    (folder / "album.png").mkdir()
    assert [page.source for page in make().read(folder)] == [folder / name for name in ("a/1.JPG", "a/2.pdf", "b.pdf")]
    assert [page.source for page in make(glob="*.pdf").read(folder)] == [folder / "b.pdf"]
    assert [page.source for page in make(glob="a/*").read(folder)] == [folder / "a/1.JPG", folder / "a/2.pdf"]


@pytest.mark.parametrize("image_folder", ["documents", "documents/pages"])
def test_rendered_pages_are_not_read_again(make, write, folder, image_folder):
    """Although they are in the folder that is read."""
    write("report.pdf", *REPORT)
    for _ in range(2):
        assert len(list(make(image_folder=folder.parent / image_folder).read(folder))) == 3


def test_paths_come_in_many_kinds(make, write, folder, monkeypatch):
    """As str, path or several, absolute or relative; the source is as it was named, the image absolute."""
    write("report.pdf", *REPORT)
    picture_file(folder / "scan.png")
    monkeypatch.chdir(folder.parent)
    for paths, sources in {
        "documents": ["documents/report.pdf"] * 3 + ["documents/scan.png"],
        Path("documents/scan.png"): ["documents/scan.png"],
        ("documents/scan.png", folder / "scan.png"): ["documents/scan.png", str(folder / "scan.png")],
        (): [],
    }.items():
        pages = list(make().read(paths))
        assert [str(page.source) for page in pages] == sources
        assert all(page.image.source.is_absolute() and page.image.source.is_file() for page in pages)
    assert len(list(make().read(path for path in folder.iterdir()))) == 4


def test_a_relative_image_folder_stays_where_it_is(write, folder, monkeypatch):
    """It is that of the working folder when the reader was made."""
    path = write("report.pdf", *REPORT)
    monkeypatch.chdir(folder)
    reader = PageReader(image_folder="images")
    monkeypatch.chdir("/")
    assert {page.image.source.parent for page in reader.read(path)} == {folder / "images"} == {reader.image_folder}


def test_images_are_written_nowhere_unless_said_otherwise(write, tmp_path, monkeypatch):
    """And then into a folder that nobody else may look into."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write("report.pdf", REPORT[0])
    (page,) = PageReader().read(path)
    assert inspect(page.image.source).load().size == page.image.size
    assert not (tmp_path / "cache").exists()
    reader = PageReader(image_folder=tmp_path / "images")
    (page,) = reader.read(path)
    assert page.image.source.parent == reader.image_folder
    assert reader.image_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("image_format", ["webp", "jpeg", "png"])
def test_images_are_written_in_the_format_that_was_chosen(write, tmp_path, image_format):
    """And look alike in all of them."""
    (page,) = PageReader(image_folder=tmp_path / "images", image_format=image_format).read(write("a.pdf", REPORT[0]))
    assert page.image.source.suffix == f".{image_format}"
    assert corners(page)[0] == pytest.approx(RED, abs=8)


def test_images_that_nothing_names_are_removed(write, tmp_path):
    """Those that documents name stay, and so does what else is in the folder."""
    reader = PageReader(image_folder=tmp_path / "images")
    first, *others = reader.read(write("report.pdf", *REPORT))
    (tmp_path / "images/mine.txt").write_text("mine")
    removed = ImageFolder(path=reader.image_folder).clean(keep=[first.image.uri])
    assert set(removed) == {page.image.source for page in others}
    assert {file.name for file in reader.image_folder.glob("[!.]*")} == {first.image.source.name, "mine.txt"}


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_what_was_named_must_be_there(make, write, folder, on_error, image_folder):
    """A path to nothing and a folder without pages are errors before anything is rendered, and never skipped."""
    reader = make(on_error=on_error)
    path = write("report.pdf", *REPORT)
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    for wrong, message in {
        "missing.pdf": "names none",
        "pipe": "names none",
        "empty": "has none that match",
    }.items():
        with pytest.raises(PageNotFoundError, match=f"{wrong}.*{message}"):
            list(reader.read([path, folder / wrong]))
    with pytest.raises(PageNotFoundError, match=r"glob='\*\.tiff'"):
        list(make(glob="*.tiff", on_error=on_error).read(folder))
    assert not image_folder.exists()


def test_a_file_that_goes_meanwhile_is_an_error(make, write, folder):
    """Or is skipped."""
    for name in ("a.pdf", "b.pdf"):
        write(name, REPORT[0])
    reader = make(on_error="skip")
    pages = reader.read(folder)
    next(pages)
    (folder / "b.pdf").unlink()
    assert list(pages) == []
    assert [type(each.error) for each in reader.skipped] == [PageNotFoundError]


def test_links_do_not_lead_out_of_a_folder(make, write, folder, tmp_path):
    """One that does is an error; inside they are followed, and a file that the caller names may be any."""
    inside = write("report.pdf", REPORT[0])
    outside = picture_file(tmp_path / "private.png")
    (folder / "link.pdf").symlink_to(inside)
    (folder / "up").symlink_to(folder, target_is_directory=True)
    assert [page.source.name for page in make().read(folder)] == ["link.pdf", "report.pdf"]
    (folder / "out.png").symlink_to(outside)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    reader = make(on_error="skip")
    assert [page.source.name for page in reader.read(folder)] == ["link.pdf", "report.pdf"]
    assert [(each.source.name, type(each.error)) for each in reader.skipped] == [
        ("loop.png", PageNotFoundError),
        ("out.png", PageError),
    ]
    assert "private.png" in str(reader.skipped[1].error)
    assert len(list(make().read(folder / "out.png"))) == 1


@pytest.mark.parametrize("name", ["report.pdf", "scan.png", "scan.tiff"])
def test_a_link_out_that_takes_the_place_of_a_file_is_not_followed(make, write, folder, tmp_path, monkeypatch, name):
    """White box: a swap between the check and the opening, of a PDF, a picture and a scan."""
    target = write("report.pdf", *REPORT) if name.endswith("pdf") else picture_file(folder / name)
    private = tmp_path / "private"
    private.write_bytes(target.read_bytes())
    check = Beneath.one_of

    def check_and_swap(*arguments):
        checked = check(*arguments)
        target.unlink()
        target.symlink_to(private)
        return checked

    monkeypatch.setattr(Beneath, "one_of", check_and_swap)
    reader = make(on_error="skip")
    assert list(reader.read(folder)) == []
    assert [type(each.error) for each in reader.skipped] == [PageError]
    assert "must be inside it" in str(reader.skipped[0].error)


def test_a_pipe_that_takes_the_place_of_a_file_is_an_error(make, write, folder):
    """Nobody writes to it, so opening it would wait for ever."""
    write("a.pdf", REPORT[0])
    picture_file(folder / "b.png")
    reader = make(on_error="skip")
    pages = reader.read(folder)
    assert next(pages).source.name == "a.pdf"
    (folder / "b.png").unlink()
    os.mkfifo(folder / "b.png")
    assert list(pages) == []
    assert ["no regular file" in str(each.error) for each in reader.skipped] == [True]


def test_a_path_that_is_no_text_is_an_error(make, folder):
    """No store could keep it."""
    path = picture_file(folder / os.fsdecode(b"scan \xff.png"))
    with pytest.raises(PageError, match="must be Unicode"):
        list(make().read(path))


@pytest.mark.parametrize(
    ("options", "paths", "message"),
    [
        ({"dpi": 0}, ".", "dpi must be a positive number"),
        ({"dpi": float("inf")}, ".", "dpi must be a positive number"),
        ({"dpi": "150"}, ".", "dpi must be a positive number"),
        ({"password": 2024}, ".", "passwords must be several, got one int"),
        ({"password": [b"secret"]}, ".", "a password must be a str of Unicode, got bytes at 0"),
        ({"on_error": "ignore"}, ".", "on_error must be one of 'raise', 'skip'"),
        ({"glob": "/etc/*"}, ".", "glob must be a pattern relative to the folder"),
        ({"glob": ""}, ".", "glob must be a pattern relative to the folder"),
        ({}, "", "a path is a str or path object"),
        ({}, 5, "a path is a str or path object .* got 5"),
        ({}, b"scans", "a path is a str or path object"),
        ({}, [None], "a path is a str or path object"),
    ],
)
def test_bad_options_are_named(make, options, paths, message):
    """With what is allowed."""
    with pytest.raises(OptionError, match=message):
        list(make(**options).read(paths))


def test_an_image_folder_that_cannot_be_written_is_an_error(make, write):
    """Which is no fault of the document, and so never skipped."""
    path = write("report.pdf", *REPORT)
    with pytest.raises(OptionError, match=r"image_folder must be a folder that can be written; '.*report\.pdf'"):
        list(make(image_folder=path, on_error="skip").read(path))


def test_without_pypdfium2_the_error_names_the_extra(make, write, folder, monkeypatch):
    """It is not skipped either, and pictures need none."""
    path = write("report.pdf", *REPORT)
    monkeypatch.setattr(files, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"jina-vllm-integrations\[pdf\]"):
        list(make(on_error="skip").read(path))
    assert len(list(make().read(picture_file(folder / "scan.png")))) == 1


def test_many_threads_may_read_at_once(make, write):
    """PDFium takes one call at a time; the same pages come out for all."""
    paths = [
        write(
            f"{number}.pdf", *(PdfPage(text=f"{number} {page}", colour=(number / 4, page / 9, 0)) for page in range(10))
        )
        for number in range(4)
    ]
    alone = [page for path in paths for page in make().read(path)]
    reader = make()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda path: list(reader.read(path)), paths * 4))
    assert [page for pages in together for page in pages] == alone * 4


def test_a_shown_bar_counts_pages(make, write, capsys):
    """And is silent unless it is shown."""
    path = write("report.pdf", *REPORT)
    list(make().read(path))
    assert capsys.readouterr().err == ""
    list(make(show_progress=True).read(path))
    assert "reading: 3item" in capsys.readouterr().err


def test_a_program_may_end_amid_the_pages(write, image_folder):
    """Without a word from PDFium about what was left open."""
    script = (
        "import sys, tempfile; from jina_vllm_integrations.pages import PageReader\n"
        "with tempfile.TemporaryDirectory(): pass\n"  # its finalizer is registered before PDFium's
        "pages = PageReader(image_folder=sys.argv[2]).read(sys.argv[1]); print(next(pages).number)"
    )
    command = [sys.executable, "-W", "error", "-c", script, write("report.pdf", *REPORT), image_folder]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("0\n", "")
