"""Vectors on disk: ``.npy`` with a manifest, JSON lines, or Parquet. All or nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from jina_vllm_integrations.errors import MissingExtraError, OptionError
from jina_vllm_integrations.foundation.options import check_new_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jina_vllm_integrations.cli.sources import Source
    from jina_vllm_integrations.types import FloatArray

Write: TypeAlias = "Callable[[Source, FloatArray], None]"

_ROWS_PER_GROUP = 1024


def files_of(path: Path) -> list[Path]:
    """Return what is written for an output's name: the file itself, and the manifest of a ``.npy``."""
    return [path, path.with_suffix(".manifest.json")] if path.suffix == ".npy" else [path]


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that vectors can be written under a name.

    Raises:
        OptionError: The suffix is another, the folder does not exist, or the file does and may not be replaced.
        MissingExtraError: Parquet without pyarrow.
    """
    if path.suffix not in _FORMATS:
        raise OptionError(f"the output must end in one of {' '.join(_FORMATS)}, got {str(path)!r}. Rename it.")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", extra="parquet")
    check_new_files(files_of(path), overwrite=overwrite)


@contextmanager
def open_vector_file(path: Path, *, dimensions: int, facts: Mapping[str, str]) -> Iterator[Write]:
    """Open a file for writing vectors in order, in the memory of a few.

    The file appears under its name, in place of an older one, when the block ends without an error.

    Args:
        path: Its suffix decides the format: ``.npy`` (float32, one row an item; ``NAME.manifest.json``
            beside it says what each row is), ``.jsonl`` or ``.parquet``. See `check_output`.
        dimensions: Size of the vectors.
        facts: What made the vectors: model, task, role. Kept in the manifest, in each JSON line or in
            Parquet's metadata.

    Yields:
        A function that appends one source's vector. *Shape:* ``(dimensions,)``, float32.
    """
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as unfinished:
        with _FORMATS[path.suffix](Path(unfinished) / path.name, dimensions, facts) as write:
            yield write
        for file in files_of(path):
            (Path(unfinished) / file.name).replace(file)


@contextmanager
def _npy(path: Path, dimensions: int, facts: Mapping[str, str]) -> Iterator[Write]:
    array, manifest = files_of(path)
    with array.open("wb") as vectors, manifest.open("w", encoding="utf-8") as rows:
        _write_npy_header(vectors, 0, dimensions)
        # The manifest is written row by row, because a list of all rows may be large.
        head = json.dumps({**facts, "rows": []}, ensure_ascii=False, indent=1)
        rows.write(head.removesuffix("]\n}"))
        numbers = count()

        def write(source: Source, vector: FloatArray) -> None:
            vectors.write(vector.tobytes())
            row = json.dumps({"name": source.name, "kind": source.kind}, ensure_ascii=False)
            rows.write(f"{',' if next(numbers) else ''}\n  {row}")

        yield write
        rows.write("\n ]\n}\n")
        vectors.seek(0)
        _write_npy_header(vectors, next(numbers), dimensions)


def _write_npy_header(file: BinaryIO, n_rows: int, dimensions: int) -> None:
    """Write a header. Its length does not depend on the number of rows: numpy leaves room for that to grow."""
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (n_rows, dimensions)}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]


@contextmanager
def _json_lines(path: Path, _dimensions: int, facts: Mapping[str, str]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(source: Source, vector: FloatArray) -> None:
            record = {"name": source.name, "kind": source.kind, **facts, "vector": vector.tolist()}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, dimensions: int, facts: Mapping[str, str]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        {"name": pa.string(), "kind": pa.string(), "vector": pa.list_(pa.float32(), dimensions)}, metadata=dict(facts)
    )
    rows: list[dict[str, Any]] = []

    with parquet.ParquetWriter(path, schema) as file:

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(source: Source, vector: FloatArray) -> None:
            rows.append({"name": source.name, "kind": source.kind, "vector": vector})
            if len(rows) == _ROWS_PER_GROUP:
                flush()

        yield write
        if rows:
            flush()


_FORMATS = {".npy": _npy, ".jsonl": _json_lines, ".parquet": _parquet}
