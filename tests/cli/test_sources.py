"""What a command line names becomes items: in order, read when their turn comes, nothing lost without a word."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from jina_vllm_integrations import InputError, OptionError
from jina_vllm_integrations.cli.sources import Sources


@pytest.fixture
def folder(tmp_path):
    """Return a folder with files of all kinds in two levels below it."""
    files = {
        "b/notes.md": "Notizen\n",
        "b/deeper/page.PNG": "never opened here",
        "a.txt": "eins\nzwei\n",
        "c.rst": "drei",
        "table.csv": "1,2",
        ".hidden.txt": "hidden",
        ".cache/kept.txt": "hidden, too",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def names(sources, folder):
    """Return the names of the sources, relative to a folder."""
    return [os.path.relpath(source.name, folder) for source in sources]


def test_a_folder_is_searched_to_any_depth_in_the_order_of_names(folder):
    """Texts and images at every level, sorted as a file manager sorts them."""
    found = list(Sources(paths=[folder]))
    assert names(found, folder) == ["a.txt", "b/deeper/page.PNG", "b/notes.md", "c.rst"]
    assert [source.kind for source in found] == ["text", "image", "text", "text"]


def test_what_is_left_out_of_a_folder_is_told(folder):
    """Hidden files, hidden folders and other kinds are no items, and can be named."""
    assert sorted(path.name for path in Sources(paths=[folder]).left_out()) == [".cache", ".hidden.txt", "table.csv"]


def test_a_hidden_file_that_is_named_is_taken(folder):
    """Only what is found is left out, never what was asked for."""
    (source,) = Sources(paths=[folder / ".hidden.txt"])
    assert source.read() == "hidden"


def test_the_order_is_that_of_the_command_line(folder):
    """Texts come first, then the paths as they were given, twice if they were given twice."""
    found = Sources(texts=["z", "y"], paths=[folder / "c.rst", folder / "a.txt", folder / "c.rst"])
    assert names(found, folder)[2:] == ["c.rst", "a.txt", "c.rst"]
    assert [source.read() for source in found] == ["z", "y", "drei", "eins\nzwei\n", "drei"]


def test_an_image_is_read_as_its_path(folder):
    """The encoder opens images, so that its limits apply."""
    (source,) = Sources(paths=[folder / "b/deeper"])
    assert source.read() == folder / "b/deeper/page.PNG"


def test_lines_are_numbered_as_editors_number_them(tmp_path):
    """Blank lines are no items but count; Windows' line ends are line ends; a form feed is not one."""
    (tmp_path / "a.txt").write_bytes("eins\r\n\r\n  \nzwei\fnoch zwei\u2028\nüber".encode())
    found = list(Sources(paths=[tmp_path], lines=True))
    assert [(source.name.rpartition(":")[2], source.read()) for source in found] == [
        ("1", "eins"),
        ("4", "zwei\fnoch zwei\u2028"),
        ("5", "über"),
    ]


@pytest.mark.parametrize("lines", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, lines):
    """What some editors put first would change the vector."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfText")
    (source,) = Sources(paths=[tmp_path], lines=lines)
    assert source.read() == "Text"


def test_a_text_file_that_is_not_utf_8_is_named(tmp_path):
    """The error says which file and what to do, whole or by lines."""
    (tmp_path / "latin.txt").write_bytes("Straße".encode("latin-1"))
    (source,) = Sources(paths=[tmp_path])
    with pytest.raises(InputError, match=r"must be UTF-8, '.*latin\.txt' is not: .* Convert it\."):
        source.read()
    *_, source = Sources(paths=[tmp_path], lines=True)
    with pytest.raises(InputError, match=r"must be UTF-8, '.*latin\.txt' is not"):
        source.read()


def test_a_path_that_does_not_exist(tmp_path):
    """A path that is meant as a text gets a hint."""
    with pytest.raises(OptionError, match=r"'.*Guten Tag' is neither a file nor a folder\. For a text, write --text"):
        Sources(paths=[tmp_path / "Guten Tag"])


def test_a_named_file_of_another_kind(folder):
    """What was asked for is not left out in silence."""
    with pytest.raises(OptionError, match=r"must end in one of .*\.md .*\.png .*, got '.*table\.csv'"):
        Sources(paths=[folder / "table.csv"])


def test_a_file_name_of_any_bytes_can_be_written_down(tmp_path):
    """Linux allows names that are no UTF-8; the name is made readable and the file is still found."""
    path = tmp_path / os.fsdecode(b"stra\xdfe.txt")
    path.write_text("Text")
    (source,) = Sources(paths=[tmp_path])
    assert source.name.encode().endswith(rb"stra\udcdfe.txt")
    assert source.read() == "Text"


def test_links(tmp_path):
    """A link to a file is followed; one to a folder, which may lead in circles, and a dangling one are left out."""
    (tmp_path / "a.txt").write_text("Text")
    (tmp_path / "b.txt").symlink_to("a.txt")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    sources = Sources(paths=[tmp_path])
    assert names(sources, tmp_path) == ["a.txt", "b.txt"]
    assert [path.name for path in sources.left_out()] == ["circle", "dangling.txt"]


def test_a_pipe_is_not_waited_for(tmp_path):
    """Opening a named pipe would wait for somebody to write into it."""
    os.mkfifo(tmp_path / "pipe.txt")
    sources = Sources(paths=[tmp_path])
    assert list(sources) == []
    assert [path.name for path in sources.left_out()] == ["pipe.txt"]


def test_a_large_file_streams_by_lines(tmp_path):
    """Reading four megabytes of lines takes the memory of a few of them."""
    size = 4 * 2**20
    (tmp_path / "large.txt").write_text(("x" * 1023 + "\n") * (size // 1024), encoding="utf-8")
    tracemalloc.start()
    try:
        assert sum(len(source.read()) for source in Sources(paths=[tmp_path], lines=True)) == size - size // 1024
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 10


def test_a_pipe_that_takes_the_place_of_a_text_file_is_not_waited_for(folder):
    """Nobody writes to it, so opening it would wait for ever."""
    (source,) = Sources(paths=[folder / "a.txt"])
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    with pytest.raises(OSError, match="no regular file"):
        source.read()
