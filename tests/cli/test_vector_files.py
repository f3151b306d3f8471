"""Vectors on disk: what was written is read back, and a file is there whole or not at all."""

from __future__ import annotations

import json
import sys
import tracemalloc

import numpy as np
import pytest
from pyarrow import parquet

from jina_vllm_integrations import MissingExtraError, OptionError
from jina_vllm_integrations.cli.sources import Source
from jina_vllm_integrations.cli.vector_files import check_output, files_of, open_vector_file

FACTS = {"model": "owner/näme", "task": "retrieval", "role": "document"}
SUFFIXES = [".npy", ".jsonl", ".parquet"]
every_format = pytest.mark.parametrize("suffix", SUFFIXES)


def vectors(n, dimensions=8):
    """Return random vectors."""
    return np.random.default_rng(n).standard_normal((n, dimensions), dtype=np.float32)


def write(path, rows):
    """Write rows whose sources have awkward names."""
    with open_vector_file(path, dimensions=rows.shape[1], facts=FACTS) as append:
        for number, vector in enumerate(rows):
            kind = "text" if number % 2 else "image"
            append(Source(name=f'"über"\n{number}', kind=kind, content="…"), vector)


def read(path):
    """Read a file with what its users would take: vectors, rows, facts."""
    if path.suffix == ".npy":
        facts = json.loads(path.with_suffix(".manifest.json").read_text(encoding="utf-8"))
        return np.load(path), facts.pop("rows"), facts
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = np.array([row.pop("vector") for row in rows], dtype=np.float32)
        return found, [{key: row.pop(key) for key in ("name", "kind")} for row in rows], rows[0]
    table = parquet.read_table(path)
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items() if key != b"ARROW:schema"}
    return np.array(table["vector"].to_pylist(), dtype=np.float32), table.select(["name", "kind"]).to_pylist(), facts


@every_format
@pytest.mark.parametrize("n", [1, 2, 1024, 1030])
def test_what_is_written_is_read_back(tmp_path, suffix, n):
    """Vectors to the bit, names, kinds, order and facts, also over the end of a row group."""
    written = vectors(n)
    write(tmp_path / f"out{suffix}", written)
    found, rows, facts = read(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(found, written)
    assert found.dtype == np.float32
    assert rows == [{"name": f'"über"\n{i}', "kind": "text" if i % 2 else "image"} for i in range(n)]
    assert facts == FACTS


def test_parquet_has_vectors_of_a_fixed_size(tmp_path):
    """Vector databases want to know the size before they read a row."""
    write(tmp_path / "out.parquet", vectors(3))
    vector = parquet.read_schema(tmp_path / "out.parquet").field("vector").type
    assert str(vector) == "fixed_size_list<element: float>[8]"


def test_npy_can_be_mapped_into_memory(tmp_path):
    """A large file need not be read to be searched."""
    write(tmp_path / "out.npy", vectors(5))
    assert np.load(tmp_path / "out.npy", mmap_mode="r").shape == (5, 8)


@every_format
def test_no_rows_are_an_empty_file(tmp_path, suffix):
    """Nothing written is still a file that can be read."""
    path = tmp_path / f"out{suffix}"
    write(path, vectors(0))
    assert len(path.read_bytes() if suffix == ".jsonl" else read(path)[0]) == 0


@every_format
def test_an_error_leaves_nothing(tmp_path, suffix):
    """A block that ends with an error leaves no file, not even a temporary one."""

    def fail():
        with open_vector_file(tmp_path / f"out{suffix}", dimensions=8, facts=FACTS) as append:
            append(Source(name="a", kind="text", content="a"), vectors(1)[0])
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert list(tmp_path.iterdir()) == []


@every_format
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path, suffix):
    """Replacing is one step: during the block, and after an error in it, the old vectors can be read."""
    path = tmp_path / f"out{suffix}"
    old = vectors(2)
    write(path, old)

    def fail():
        with open_vector_file(path, dimensions=8, facts=FACTS) as append:
            append(Source(name="a", kind="text", content="a"), vectors(1)[0])
            np.testing.assert_array_equal(read(path)[0], old)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    np.testing.assert_array_equal(read(path)[0], old)
    write(path, vectors(3))
    np.testing.assert_array_equal(read(path)[0], vectors(3))
    assert set(tmp_path.iterdir()) == set(files_of(path))


@every_format
def test_others_may_read_the_file(tmp_path, suffix):
    """The result has the permissions of any new file, not those of a temporary one."""
    (tmp_path / "any").touch()
    write(tmp_path / f"out{suffix}", vectors(1))
    for file in files_of(tmp_path / f"out{suffix}"):
        assert file.stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize(("suffix", "n"), [(".npy", 8192), (".jsonl", 2048), (".parquet", 8192)])
def test_writing_streams(tmp_path, suffix, n):
    """Many vectors are written in the memory of less than half of them."""
    block = vectors(8, 128)
    source = Source(name="a", kind="text", content="a")
    tracemalloc.start()
    try:
        with open_vector_file(tmp_path / f"out{suffix}", dimensions=128, facts=FACTS) as append:
            for number in range(n):
                append(source, block[number % 8].copy())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * block[0].nbytes / 2


@pytest.mark.parametrize("name", ["out.txt", "out", "out.NPY", "out.npy.gz"])
def test_another_suffix(tmp_path, name):
    """The suffix decides the format, so it must be one of three."""
    with pytest.raises(OptionError, match=rf"must end in one of \.npy \.jsonl \.parquet, got '.*{name}'"):
        check_output(tmp_path / name, overwrite=False)


def test_a_folder_that_does_not_exist(tmp_path):
    """A typing error in the folder's name makes no folder."""
    with pytest.raises(OptionError, match=r"folder must exist, '.*missing' does not"):
        check_output(tmp_path / "missing" / "out.npy", overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.npy", "out.manifest.json"])
def test_what_exists_is_replaced_on_request_only(tmp_path, name):
    """The manifest counts as much as the vectors."""
    (tmp_path / name).touch()
    with pytest.raises(OptionError, match=rf"'.*{name}' exists\. .* --overwrite"):
        check_output(tmp_path / "out.npy", overwrite=False)
    check_output(tmp_path / "out.npy", overwrite=True)


def test_a_folder_is_not_replaced(tmp_path):
    """Not even on request."""
    (tmp_path / "out.npy").mkdir()
    with pytest.raises(OptionError, match=r"must be a file, '.*out\.npy' is a folder"):
        check_output(tmp_path / "out.npy", overwrite=True)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    """The missing extra is named before anything is computed."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-vllm-integrations\[parquet\]'"):
        check_output(tmp_path / "out.parquet", overwrite=False)
