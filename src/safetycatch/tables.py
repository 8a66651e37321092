"""The column contract of every Parquet table: name, type, unit, nullability, key.

Ids are strings. Units are in the names (`cost_usd`, `latency_s`). A table that breaks its contract is refused by
`checked`, with the column and the first offending row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safetycatch.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

Kind = Literal["text", "integer", "number", "boolean", "time"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `null` says whether a value may be missing, `key` whether it is part of the row's identity."""

    name: str
    kind: Kind
    doc: str
    null: bool = False
    key: bool = False


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns of one kind of table; `extra` allows further text columns (the slices of `examples`)."""

    name: str
    columns: tuple[Column, ...]
    extra: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return tuple(column.name for column in self.columns if column.key)

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)


def _text(name: str, doc: str, *, null: bool = False, key: bool = False) -> Column:
    return Column(name, "text", doc, null, key)


def _number(name: str, doc: str, *, null: bool = False) -> Column:
    return Column(name, "number", doc, null)


def _integer(name: str, doc: str, *, null: bool = False, key: bool = False) -> Column:
    return Column(name, "integer", doc, null, key)


def _flag(name: str, doc: str) -> Column:
    return Column(name, "boolean", doc, False, False)


_EXAMPLE = _text("example_id", "the item", key=True)
_CANDIDATE = _text("candidate", "candidate id", key=True)
_RUN = _text("run_id", "the run that reports the row", key=True)
_OF_CANDIDATE = _text("candidate", "candidate id; empty where the answer is nobody's", key=True)
_OUTPUT = _text("output_hash", "SHA-256 of the output, 16 digits", key=True)
_REPLICATE = _integer("replicate", "0-based repeat of the same call", key=True)

_CALL = (
    _text("model_requested", "model asked for", null=True),
    _text("model_returned", "model that says it answered", null=True),
    _integer("n_tokens_in", "prompt tokens", null=True),
    _integer("n_tokens_cached", "prompt tokens served from the provider's cache", null=True),
    _integer("n_tokens_out", "completion tokens", null=True),
    _number("cost_usd", "price of the call, US dollars", null=True),
    _number("latency_s", "seconds from sending to the last byte", null=True),
    _text("call_key", "key of the call in the journal", null=True),
    _text("error_class", "what went wrong; null when a reply came", null=True),
)

CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in (
        Contract(
            "examples",
            (
                _EXAMPLE,
                _text("input", "text, or canonical JSON when input_kind is json or messages"),
                _text("input_kind", "text | json | messages"),
                _text("target", "the expected answer as text"),
                _text("group_id", "rows of one group never cross a split", null=True),
                _text("created_at", "ISO 8601 time in UTC", null=True),
                _text("given_split", "train | dev | test as the file says", null=True),
            ),
            extra=True,
        ),
        Contract(
            "splits",
            (
                _EXAMPLE,
                _text("split", "train | dev | test | quarantine"),
                _text("cluster_id", "near-duplicates and groups share one; the unit of independence"),
            ),
        ),
        Contract(
            "leaks",
            (
                _text("left_id", "row of the scored side", key=True),
                _text("right_id", "row of the other side", key=True),
                _text("left_split", "split of left_id", key=True),
                _text("right_split", "split of right_id, or pool, prompt", key=True),
                _text("kind", "exact | normalised | bag | near | similar | template | group | time | prompt", key=True),
                _number("similarity", "character 5-gram Jaccard (1 for exact kinds), 0-1", null=True),
            ),
        ),
        Contract(
            "shots",
            (
                _text("strategy", "candidate's shot settings as a short name", key=True),
                _text("example_id", "the query; empty for shots shared by all queries", key=True),
                _integer("rank", "0 is the first shot in the prompt", key=True),
                _text("shot_id", "the example shown"),
                _number(
                    "score", "likeness to the query: a cosine (0-1) or a BM25 score; none of fixed shots", null=True
                ),
            ),
        ),
        Contract(
            "rows",
            (
                _RUN,
                _CANDIDATE,
                _EXAMPLE,
                _REPLICATE,
                _text("status", "answer | refusal | length | filtered | invalid | error"),
                _text("output", "the reply's text", null=True),
                _text("parsed", "what the scorers compare; null when unparsable", null=True),
                *_CALL,
            ),
        ),
        Contract(
            "scores",
            (
                _RUN,
                _CANDIDATE,
                _EXAMPLE,
                _REPLICATE,
                _text("metric", "scorer's name", key=True),
                _number("value", "the score; null when infrastructure failed or the metric is undefined", null=True),
            ),
        ),
        Contract(
            "label_items",
            (
                _EXAMPLE,
                _OF_CANDIDATE,
                _OUTPUT,
                _text("input", "what was asked, as a person reads it"),
                _text("output", "the answer to be labelled; of a pairwise comparison, JSON {first, second}"),
                _text("reference", "the expected answer, where there is one", null=True),
                _number(
                    "sampling_probability",
                    "chance with which it was drawn from all rows; null when it was picked",
                    null=True,
                ),
            ),
            extra=True,
        ),
        Contract(
            "labels",
            (
                _EXAMPLE,
                _OF_CANDIDATE,
                _OUTPUT,
                _text("annotator", "who says so", key=True),
                _text("criterion", "what is judged; empty for the answer as a whole", key=True),
                _text("label", "the verdict, one of the scale's"),
                _text("critique", "why", null=True),
                _text("failure_mode", "names of what went wrong, joined by '; '", null=True),
                _text("rubric_hash", "SHA-256 of the rubric that was shown", null=True),
                _text("labelled_at", "ISO 8601 time in UTC", null=True),
                _number(
                    "sampling_probability",
                    "chance with which the item was drawn from all rows; null when it was picked",
                    null=True,
                ),
            ),
        ),
        Contract(
            "verdicts",
            (
                _text("judge", "judge, judge-2 …: who says so", key=True),
                _CANDIDATE,
                _EXAMPLE,
                _REPLICATE,
                _text("criterion", "what is judged; empty for the answer as a whole", key=True),
                _text("order", "as | swapped: which of a pair was shown first; as for a single answer", key=True),
                _text("output_hash", "SHA-256 of the output that was judged, 16 digits"),
                _text("status", "answer | unparsed | refusal | length | filtered | error | invalid"),
                _text("verdict", "one of the scale's; null when there is none", null=True),
                _text("critique", "why, in the judge's words", null=True),
                _text("output", "the judge's whole reply", null=True),
                *_CALL,
            ),
        ),
        Contract(
            "comparisons",
            (
                _text("baseline", "candidate id, or run:candidate", key=True),
                _text("candidate", "candidate id", key=True),
                _text("metric", "scorer's name", key=True),
                _text("slice", "column=value; 'all' for every row", key=True),
                _number("estimate", "candidate - baseline in the metric's unit", null=True),
                _number("low", "lower end of the interval", null=True),
                _number("high", "upper end of the interval", null=True),
                _number("p_value", "two-sided, unadjusted", null=True),
                _number("p_adjusted", "adjusted for the family that `correction` names", null=True),
                _text(
                    "correction",
                    "holm or max_t, over the claim's candidates | holm_pairs: over the pairs without the baseline | "
                    "benjamini_hochberg: over all slices, exploratory",
                    null=True,
                ),
                _integer("n", "paired items"),
                _integer("n_clusters", "independent clusters", null=True),
                _integer("n_missing", "items without a score on one side"),
                _number("detectable", "of a slice: the difference that its items show with 80 % power", null=True),
                _text("method", "how the interval was made"),
                _text("verdict", "BETTER | WORSE | EQUIVALENT | INCONCLUSIVE | EXPLORING | none", null=True),
            ),
        ),
        Contract(
            "ladder",
            (
                _CANDIDATE,
                _text("status", "running (to the end) | eliminated (evidence) | pruned (budget)"),
                _integer("rung", "1-based rung in which it left; null when it did not", null=True),
                _integer("n", "dev items with a score"),
                _integer("n_missing", "dev items without one: infrastructure failed"),
                _integer("n_calls", "dev calls asked for, those ahead of a look included"),
                _number("cost_usd", "what they cost when they were bought, US dollars"),
                _number("estimate", "mean dev score of the raced metric; too high for a winner", null=True),
                _number("e_value", "evidence that it is not the best; 1 is none"),
                _integer("look", "look at which it left, counted over all rungs", null=True),
                _text("against", "the rival with the strongest evidence", null=True),
                _flag("on", "it went on to the scored split"),
            ),
        ),
        Contract(
            "findings",
            (
                _text("code", "SC…", key=True),
                _text("level", "refuse | warn | off | stop"),
                _text("status", "passed | fired | overridden | acknowledged | not_applicable | not_checked"),
                _text("title", "the catch in a few words"),
                _text("saw", "counts and one example"),
                _text("matters", "the number it changes"),
                _text("fix", "what to type"),
                _text("alternative", "the override"),
                _text("reason", "why it was overridden", null=True),
                _text("evidence", "canonical JSON"),
                _text("fingerprint", "of what was looked at"),
            ),
        ),
    )
}


def _arrow_type(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    return types[kind] if kind != "time" else pa.timestamp("us", tz="UTC")


def schema(name: str) -> pa.Schema:
    """Return the Arrow schema of the contract `name`, units and meanings in the field metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(column.name, _arrow_type(column.kind), nullable=column.null, metadata={"description": column.doc})
            for column in CONTRACTS[name].columns
        ]
    )


def checked(table: pa.Table, name: str, where: str = "") -> pa.Table:
    """Return `table` with the contract's columns first, in order and type.

    Raises: DataError naming the column and the first row that breaks the contract (missing column, wrong type,
    missing value, repeated key, unknown column).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    contract, place = CONTRACTS[name], where or name
    twice = next((column for column in table.column_names if table.column_names.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"the column {twice!r} twice", where=place, expected=", ".join(contract.names))
    expected = schema(name)
    arrays: list[pa.ChunkedArray] = []
    for field in expected:
        if field.name not in table.column_names:
            raise DataError(f"no column {field.name!r}", where=place, expected=", ".join(contract.names))
        given = table[field.name]
        if pa.types.is_string(field.type) and not _textual(given.type):
            # A number as text depends on who wrote it: 7, 7.0 and 007 would be three ids.
            raise DataError(f"column {field.name!r} is {given.type}", where=place, expected="text")
        array = _cast(given, field, place)
        if not field.nullable and array.null_count:
            row = pc.index(array.is_null(), value=True).as_py()
            raise DataError("missing value", where=f"{place}, row {row}, column {field.name}")
        arrays.append(array)
    rest = [column for column in table.column_names if column not in contract.names]
    if rest and not contract.extra:
        raise DataError(f"unknown column {rest[0]!r}", where=place, expected=", ".join(contract.names))
    fields = [*expected, *(table.schema.field(column) for column in rest)]
    result = pa.Table.from_arrays([*arrays, *(table[column] for column in rest)], schema=pa.schema(fields))
    if contract.key and result.num_rows:
        distinct = result.select(list(contract.key)).group_by(list(contract.key)).aggregate([([], "count_all")])
        if distinct.num_rows != result.num_rows:
            raise _repeated(result, contract, place)
    return result


def _textual(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _cast(given: pa.ChunkedArray, field: pa.Field, place: str) -> pa.ChunkedArray:
    import pyarrow as pa

    errors = pa.ArrowInvalid, pa.ArrowNotImplementedError
    try:
        return given.cast(field.type)
    except errors:
        pass
    whole, cut = 0, len(given)  # `whole` rows can be cast, `cut` cannot
    while cut - whole > 1:
        middle = (whole + cut) // 2
        try:
            given.slice(0, middle).cast(field.type)
            whole = middle
        except errors:
            cut = middle
    found = str(given[whole].as_py())[:80] if len(given) else str(given.type)
    raise DataError(f"found {found!r}", where=f"{place}, row {whole}, column {field.name}", expected=str(field.type))


def _repeated(table: pa.Table, contract: Contract, place: str) -> DataError:
    seen: dict[tuple[object, ...], int] = {}
    for row, key in enumerate(zip(*(table[column].to_pylist() for column in contract.key), strict=True)):
        if key in seen:
            shown = ", ".join(f"{column} {value!r}" for column, value in zip(contract.key, key, strict=True))
            return DataError(f"rows {seen[key]} and {row} share {shown}", where=place, expected="one row a key")
        seen[key] = row
    raise AssertionError


def empty(name: str) -> pa.Table:
    """Return a table of the contract `name` without rows."""
    return schema(name).empty_table()


def with_ids(table: pa.Table, ids: Iterable[str]) -> pa.Table:
    """Return the rows of `table` whose `example_id` is among `ids`, in the table's order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Typed, since an empty list would be an array of nulls, which Arrow refuses to look up texts in.
    return table.filter(pc.field("example_id").isin(pa.array(list(ids), pa.string())))
