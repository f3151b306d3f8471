"""Files are opened beneath a folder, whatever is put in their place meanwhile, and only if they are regular."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest

from jina_vllm_integrations.foundation import opening
from jina_vllm_integrations.foundation.opening import Beneath, OutsideError, open_file


@pytest.fixture
def root(tmp_path):
    """Return a folder that may be read, beside one that may not."""
    for name, content in (("open", b"open"), ("private", b"secret")):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "page").write_bytes(content)
    return tmp_path / "open"


@pytest.fixture
def page(root):
    """Return a file that may be read."""
    return root / "deep" / "page"


@pytest.fixture
def secret(root):
    """Return one that may not."""
    return root.parent / "private" / "deep" / "page"


def content(source):
    """Return what a file has."""
    with open_file(source) as file:
        return file.read()


def descriptors():
    """Return the open files of this process."""
    return sorted(Path("/proc/self/fd").iterdir())


def in_place_of(path, make):
    """Put something else in the place of a file or folder."""
    path.rename(path.with_name("moved"))
    make(path)


def test_a_path_is_opened_wherever_it_leads(page, secret):
    """A caller's own is not restricted, and links are followed."""
    (page.parent / "link").symlink_to(secret)
    assert content(page) == content(str(page)) == b"open"
    assert content(page.parent / "link") == b"secret"


def test_links_inside_a_folder_are_followed(root, page):
    """Relative and absolute ones, of files and folders, and a folder that is a link itself."""
    (root / "relative").symlink_to("deep/page")
    (root / "absolute").symlink_to(page)
    (root / "folder").symlink_to("deep")
    (root.parent / "current").symlink_to("open")
    for path in (root / "relative", root / "absolute", root / "folder" / "page", page):
        for folder in (root, root.parent / "current"):
            assert content(Beneath.one_of([root.parent / "missing", folder], path)) == b"open"


@pytest.mark.parametrize("path", ["link", "folder/page", "../private/deep/page", "deep/../../private/deep/page"])
def test_what_leads_out_is_in_no_folder(root, secret, path):
    """Also where its name lies inside."""
    (root / "link").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    assert Beneath.one_of([root, root / "deep"], root / path) is None


SWAPS = {
    "the file": lambda root, out: in_place_of(root / "deep" / "page", lambda path: path.symlink_to(out / "deep/page")),
    "its folder": lambda root, out: in_place_of(root / "deep", lambda path: path.symlink_to(out / "deep")),
    "the root": lambda root, out: in_place_of(root, lambda path: path.symlink_to(out)),
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_a_link_out_that_is_put_in_its_place_after_the_check_is_refused(root, page, swap):
    """Each opening finds out anew, also that of a copy in another process, and no descriptor is left."""
    files = [Beneath.one_of([root], page), pickle.loads(pickle.dumps(Beneath.one_of([root], page)))]  # noqa: S301
    assert [content(file) for file in files] == [b"open", b"open"]
    swap(root, root.parent / "private")
    before = descriptors()
    for file in files:
        with pytest.raises(OutsideError, match="leads out of"):
            open_file(file)
    assert descriptors() == before


def test_a_link_inside_that_is_put_in_its_place_is_followed(root, page):
    """What may be read may be read by another name."""
    file = Beneath.one_of([root], page)
    in_place_of(page, lambda path: path.symlink_to("other"))
    (page.parent / "other").write_bytes(b"other")
    assert content(file) == b"other"


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_what_was_checked_is_what_is_read(root, page, swap, monkeypatch):
    """White box: a swap after the check, and before the file is opened for reading, changes nothing."""
    check = opening._check_inside

    def check_and_swap(*arguments):
        check(*arguments)
        swap(root, root.parent / "private")

    file = Beneath.one_of([root], page)
    monkeypatch.setattr(opening, "_check_inside", check_and_swap)
    assert content(file) == b"open"


@pytest.mark.parametrize("name", [".", "missing", "pipe", "socket", "/dev/zero", "x" * 5000])
def test_only_regular_files_are_opened(page, name):
    """Nobody writes to the pipe, so opening it would wait for ever; no descriptor is left."""
    os.mkfifo(page.parent / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(page.parent / "socket"))
        before = descriptors()
        for source in (page.parent / name, Beneath(path=page.parent / name, root=Path("/"))):
            with pytest.raises(OSError, match=r"regular|No such|too long") as failure:
                open_file(source)
            assert failure.value.filename == str(page.parent / name)
        assert descriptors() == before


def test_a_pipe_that_is_put_in_its_place_is_not_waited_for(page, monkeypatch):
    """White box: a swap after the file was found to be regular."""
    status = os.fstat

    def status_and_swap(descriptor):
        found = status(descriptor)
        in_place_of(page, os.mkfifo)
        monkeypatch.setattr(os, "fstat", status)
        return found

    monkeypatch.setattr(os, "fstat", status_and_swap)
    assert content(page) == b"open"


def test_an_error_names_the_path(page):
    """Not the descriptor, by which it is opened."""
    page.unlink()
    with pytest.raises(FileNotFoundError) as failure:
        open_file(page)
    assert failure.value.filename == str(page)


def test_without_proc_nothing_is_opened(root, page, monkeypatch):
    """White box: the error says what is missing, and not that there is no file."""
    monkeypatch.setattr(opening, "_DESCRIPTORS", "/proc/missing")
    before = descriptors()
    for source in (page, Beneath.one_of([root], page)):
        with pytest.raises(OSError, match="/proc must be mounted"):
            open_file(source)
    assert descriptors() == before
