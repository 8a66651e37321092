"""Parquet with page checksums, in row groups of fixed size, so that equal tables give equal bytes."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError, StoreError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from safetycatch.store.disk import Temporary

ROW_GROUP_ROWS = 16_384  # with 10 kB of text a row, 160 MB in memory while writing
ZSTD_LEVEL = 3


class _Sink:
    """What pyarrow needs of a file object; closing is the owner's business."""

    closed = False

    def __init__(self, file: Temporary) -> None:
        self._file = file
        self.abandoned = False

    def write(self, data: Any) -> int:
        """Pass `data` on; once abandoned, take it and do nothing, so that pyarrow can close in peace."""
        return len(data) if self.abandoned else self._file.write(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The owner closes."""


def _distinct(schema: pa.Schema) -> pa.Schema:
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise DataError(f"repeated column names {repeated}", where="table to store")
    return schema


def _pieces(data: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema | None) -> Iterator[pa.Table]:
    import pyarrow as pa

    if isinstance(data, pa.Table):
        yield data if schema is None else _fitted(data, schema)
        return
    for batch in data:
        piece = pa.Table.from_batches([batch])
        schema = schema or piece.schema
        yield _fitted(piece, schema)
    if schema is not None:
        yield schema.empty_table()


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    if table.column_names != schema.names:
        raise DataError(f"columns {table.column_names}", where="table to store", expected=", ".join(schema.names))
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"does not fit its schema: {error}", where="table to store") from None


def _row_groups(data: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema | None) -> Iterator[pa.Table]:
    """Yield single-chunk tables of ROW_GROUP_ROWS rows (the last one fewer, at least one table in all)."""
    import pyarrow as pa

    held: list[pa.Table] = []
    n_held, first = 0, True
    for piece in _pieces(data, schema):
        plain = piece.replace_schema_metadata(None)
        start = 0
        while start < plain.num_rows:
            part = plain.slice(start, ROW_GROUP_ROWS - n_held)
            held.append(part)
            n_held += part.num_rows
            start += part.num_rows
            if n_held == ROW_GROUP_ROWS:
                yield pa.concat_tables(held).combine_chunks()
                held, n_held, first = [], 0, False
        if not held and first:
            held = [plain.slice(0, 0)]
    if n_held or (first and held):
        yield pa.concat_tables(held).combine_chunks()


def write_parquet(
    file: Temporary, data: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema | None
) -> tuple[int, pa.Schema]:
    """Write `data` into `file` row group by row group; return the number of rows and the schema.

    Schema-level metadata (pandas' index and versions) is dropped; units in field metadata stay.
    Raises: DataError for no batch and no schema, repeated column names, a type Parquet lacks, a batch that differs.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    sink = _Sink(file)
    rows = 0
    with contextlib.ExitStack() as stack:
        try:
            for group in _row_groups(data, schema):
                if writer is None:
                    writer = stack.enter_context(
                        pq.ParquetWriter(
                            pa.PythonFile(sink, mode="w"),
                            _distinct(group.schema),
                            compression="zstd",
                            compression_level=ZSTD_LEVEL,
                            write_page_checksum=True,
                        )
                    )
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                rows += group.num_rows
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            sink.abandoned = True
            raise DataError(f"Parquet cannot hold it: {error}", where="table to store") from None
        except BaseException:
            sink.abandoned = True
            raise
        if writer is None:
            raise DataError("no batch came, so the columns are unknown", where="table to store", fix="pass schema=")
        return rows, writer.schema


@contextlib.contextmanager
def _reader(fd: int, path: Path) -> Generator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not a Python file object: pyarrow's threads would still want the interpreter's lock while it ends, and abort.
        with (
            pa.OSFile(f"/dev/fd/{fd}") as stream,
            pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=False) as reader,
        ):
            yield reader
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is damaged: {str(error).splitlines()[0][:200]}") from error


def _known(columns: Sequence[str] | None, schema: pa.Schema, path: Path) -> list[str] | None:
    missing = [name for name in columns or () if name not in schema.names]
    if missing:
        raise DataError(f"no column {missing[0]!r}", where=str(path), expected=", ".join(schema.names))
    return None if columns is None else list(columns)


def read_parquet(fd: int, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table in an open file, columns in the order asked for.

    Raises: StoreError naming `path` when a page's checksum or the layout is wrong; DataError for an unknown column.
    """
    with _reader(fd, path) as reader:
        wanted = _known(columns, reader.schema_arrow, path)
        table = reader.read(columns=wanted)
    return table if wanted is None else table.select(wanted)


def read_batches(fd: int, path: Path, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an open file in batches of at most `size` rows; memory stays at about one row group.

    Raises: StoreError naming `path` when a page's checksum or the layout is wrong; DataError for an unknown column.
    """
    with _reader(fd, path) as reader:
        wanted = _known(columns, reader.schema_arrow, path)
        for batch in reader.iter_batches(batch_size=size, columns=wanted):
            yield batch if wanted is None else batch.select(wanted)


class TableFile:
    """A table that stays open: columns are decoded one row group at a time, their page checksums verified.

    Safe for several threads. A file that is replaced under its name stays readable here as it was.
    """

    def __init__(self, fd: int, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path, self._lock = path, threading.Lock()
        with self._told():
            self._stream = pa.OSFile(f"/dev/fd/{fd}")
            self._reader = pq.ParquetFile(self._stream, page_checksum_verification=True, pre_buffer=False)
        groups = self._reader.metadata
        self.sizes = tuple(groups.row_group(number).num_rows for number in range(groups.num_row_groups))

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{self._path} is damaged: {str(error).splitlines()[0][:200]}") from error

    def read(self, columns: Sequence[str], group: int | None = None) -> pa.Table:
        """Return some columns of one row group, or of all.

        Raises: StoreError naming the file when a page's checksum is wrong; DataError for an unknown column.
        """
        wanted = list(columns)
        _known(wanted, self._reader.schema_arrow, self._path)
        with self._lock, self._told():
            if group is None:
                return self._reader.read(columns=wanted).select(wanted)
            return self._reader.read_row_group(group, columns=wanted).select(wanted)

    def may_hold(self, column: str, text: str) -> list[int]:
        """Return the row groups whose statistics allow a value `text` in a text column; all that have none."""
        metadata = self._reader.metadata
        place = self._reader.schema_arrow.names.index(column)
        found: list[int] = []
        for number in range(len(self.sizes)):
            seen = metadata.row_group(number).column(place).statistics
            if seen is None or not seen.has_min_max or seen.min <= text <= seen.max:
                found.append(number)
        return found

    def n_missing(self, column: str, number: int) -> int | None:
        """Return how many values of a text or number column one row group lacks; None where the file does not say."""
        place = self._reader.schema_arrow.names.index(column)
        seen = self._reader.metadata.row_group(number).column(place).statistics
        return seen.null_count if seen is not None and seen.has_null_count else None

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._stream.close()


def check_pages(fd: int, path: Path) -> tuple[int, pa.Schema]:
    """Decode every page, checking its checksum; return the number of rows and the schema.

    Raises: StoreError naming `path`.
    """
    with _reader(fd, path) as reader:
        return sum(batch.num_rows for batch in reader.iter_batches(batch_size=ROW_GROUP_ROWS)), reader.schema_arrow


def columns_of(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return name, type and nullability of each column for a manifest."""
    return [{"name": field.name, "type": str(field.type), "null": field.nullable} for field in schema]
