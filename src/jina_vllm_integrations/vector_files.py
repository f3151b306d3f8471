"""Vectors on disk: ``.npy`` with a manifest, JSON lines, or Parquet. All or nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jina_vllm_integrations.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jina_vllm_integrations.sources import Source
    from jina_vllm_integrations.types import FloatArray

Write: TypeAlias = "Callable[[Source, FloatArray], None]"

_ROWS_PER_GROUP = 1024


@contextmanager
def open_vector_file(path: Path, *, shape: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[Write]:
    """Open a file for writing vectors in order, in the memory of a few.

    The file appears under its name when the block ends without an error.

    Args:
        path: Its suffix decides the format: ``.npy`` (float32, one row an item; ``NAME.manifest.json``
            beside it says what each row is), ``.jsonl`` or ``.parquet``.
        shape: How many vectors will come, and their size.
        facts: What made the vectors: model, task, role. Kept in the manifest, in each JSON line or in
            Parquet's metadata.

    Yields:
        A function that appends one source's vector. *Shape:* ``(dimensions,)``, float32.

    Raises:
        OptionError: The suffix is another.
        MissingExtraError: Parquet without pyarrow.
    """
    if path.suffix not in _FORMATS:
        raise OptionError(f"vectors are written as {', '.join(_FORMATS)}, got {str(path)!r}. Give it such a suffix.")
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as unfinished:
        with _FORMATS[path.suffix](Path(unfinished) / path.name, shape, facts) as write:
            yield write
        for file in Path(unfinished).iterdir():
            file.replace(path.parent / file.name)


@contextmanager
def _npy(path: Path, shape: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[Write]:
    vectors: FloatArray = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)  # type: ignore[no-untyped-call]
    rows: list[dict[str, str]] = []

    def write(source: Source, vector: FloatArray) -> None:
        vectors[len(rows)] = vector
        rows.append({"name": source.name, "kind": source.kind})

    yield write
    manifest = json.dumps({**facts, "rows": rows}, ensure_ascii=False, indent=1)
    path.with_suffix(".manifest.json").write_text(manifest + "\n", encoding="utf-8")


@contextmanager
def _json_lines(path: Path, _shape: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(source: Source, vector: FloatArray) -> None:
            record = {"name": source.name, "kind": source.kind, **facts, "vector": vector.tolist()}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, shape: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[Write]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="parquet") from error
    schema = pa.schema(
        {"name": pa.string(), "kind": pa.string(), "vector": pa.list_(pa.float32(), shape[1])},
        metadata={key: json.dumps(value) for key, value in facts.items()},
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
        flush()


_FORMATS = {".npy": _npy, ".jsonl": _json_lines, ".parquet": _parquet}
