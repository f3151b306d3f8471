"""What a folder holds: pages whatever they are called, and what is none of them."""

from __future__ import annotations

import logging
import os

import pytest

from jina_vllm_integrations.errors import PageNotFoundError
from page_files import REPORT, picture_file, plain, tiff
from pictures import encoded, noise


def names(reader, folder):
    """Return the names of the files whose pages are read."""
    return [page.source.name for page in reader.read(folder)]


@pytest.mark.parametrize(
    ("suffix", "image_format"),
    [
        *(
            (".jfif", "JPEG"),
            (".jpe", "JPEG"),
            (".apng", "PNG"),
            (".pgm", "PPM"),
            (".pnm", "PPM"),
            (".jp2", "JPEG2000"),
        ),
        *((".scan", "PNG"), ("", "TIFF"), (".1", "JPEG"), (".page", "BMP"), (".bin", "WEBP"), (".DAT", "GIF")),
    ],
)
def test_a_picture_is_read_whatever_it_is_called(make, folder, suffix, image_format):
    """By a suffix of its format, and by its content where the suffix says nothing."""
    (folder / f"scan{suffix}").write_bytes(encoded(noise(16, 12), image_format))

    assert names(make(), folder) == [f"scan{suffix}"]


def test_a_pdf_without_a_suffix_is_read(make, write, folder):
    """As it is when it is named."""
    write("report.pdf", *REPORT).rename(folder / "upload")

    assert names(make(), folder) == ["upload"] * 3


def test_what_is_not_read_is_counted(make, folder, caplog):
    """By suffix, in the log and in what was skipped; what a suffix says is believed, and hidden files do not count."""
    picture_file(folder / "scan.png")
    for name in ("a.docx", "b.DOCX", "c.txt", "notes", ".hidden", "d.md"):
        (folder / name).write_bytes(b"PK\3\4")
    (folder / "e.txt").write_bytes(encoded(noise(16, 12)))
    (folder / "broken").symlink_to(folder / "nowhere")
    (folder / "log.d").mkdir()
    os.mkfifo(folder / "pipe")
    reader = make()

    with caplog.at_level(logging.WARNING):
        assert names(reader, folder) == ["scan.png"]

    assert reader.skipped == []
    assert reader.skipped.other_files == {".docx": 2, ".txt": 2, "": 3, ".md": 1}
    assert [record.getMessage() for record in caplog.records] == [
        f"not read in {str(folder)!r}, being neither PDFs nor pictures: 3 without a suffix, 2 .docx, 1 .md, 2 .txt"
    ]
    assert names(make(glob="*.png"), folder) == ["scan.png"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("text", [b"BM\nis short for bitmap, in a note", b"P1 is first, P2 is second", b"P5 2 be done"])
def test_a_text_is_no_picture_by_its_first_letters(make, folder, text):
    """Those of some formats are few."""
    picture_file(folder / "scan.png")
    (folder / "notes").write_bytes(text)
    reader = make()

    assert names(reader, folder) == ["scan.png"]
    assert reader.skipped.other_files == {"": 1}


def test_a_folder_of_other_files_says_which(make, folder):
    """It may have been another that was meant."""
    (folder / "a.docx").write_bytes(b"PK")
    with pytest.raises(PageNotFoundError, match=r"has none that match glob='\*\*/\*' but 1 \.docx\."):
        list(make().read(folder))


def test_the_images_of_an_earlier_reading_are_no_documents(make, folder):
    """Their folder says what it is, so a reader that renders elsewhere leaves them out; pictures beside them stay."""
    tiff(folder / "scan.tif", [plain("red"), plain("lime")])
    earlier = folder / "pages"
    assert names(make(image_folder=earlier), folder) == ["scan.tif"] * 2
    assert len(list(earlier.glob("*.png"))) == 2
    picture_file(earlier / "photo.png")
    reader = make()

    assert names(reader, folder) == ["photo.png", "scan.tif", "scan.tif"]
    assert reader.skipped.other_files == {}
