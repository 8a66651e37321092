"""`check --write-clean`: the data file again, without the scored rows that training rows give away."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetycatch.errors import InputError, UsageError

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, slots=True)
class CleanCopy:
    """Where the copy lies, and how many rows it keeps and leaves out."""

    path: Path
    n_kept: int
    n_left_out: int


def write_clean_copy(experiment_file: Path, facts: dict[str, Any]) -> CleanCopy:
    """Write `NAME.clean.EXT` beside the data file; `facts` are a preview's, with `data` and `leaked_ids`.

    Raises: UsageError when another file of that name is there; InputError when it cannot be written.
    """
    from safetycatch.data.loading import load_examples
    from safetycatch.experiment import load_experiment

    source = Path(facts["data"])
    settings = load_experiment(experiment_file).data
    ids = load_examples(settings, root=experiment_file.absolute().parent).table["example_id"].to_pylist()
    leaked = set(facts["leaked_ids"])
    keep = [example_id not in leaked for example_id in ids]
    target = source.with_name(f"{source.stem}.clean{source.suffix}")
    content = _kept(source, keep)
    if target.exists() and target.read_bytes() != content:
        raise UsageError("another file of that name is there", where=str(target), fix=f"mv {target} {target}.old")
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        new.write_bytes(content)
        new.replace(target)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return CleanCopy(target, sum(keep), len(keep) - sum(keep))


def _kept(source: Path, keep: list[bool]) -> bytes:
    kind = source.suffix.lower()
    if kind == ".parquet":
        return _kept_parquet(source, keep)
    data = source.read_bytes()
    if kind in DELIMITERS:
        return _kept_csv(data, DELIMITERS[kind], keep)
    lines = [line for line in data.split(b"\n") if line.strip()]
    return b"".join(line + b"\n" for line, wanted in zip(lines, keep, strict=True) if wanted)


def _kept_csv(data: bytes, delimiter: str, keep: list[bool]) -> bytes:
    csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True)
    header, *rows = [row for row in reader if row]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(row for row, wanted in zip(rows, keep, strict=True) if wanted)
    return out.getvalue().encode()


def _kept_parquet(source: Path, keep: list[bool]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(parquet.read_table(source).filter(pa.array(keep)), sink)
    return sink.getvalue().to_pybytes()
