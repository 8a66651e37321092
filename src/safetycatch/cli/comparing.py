"""`compare`: candidates of stored runs, paired by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from safetycatch.catches import Observation
    from safetycatch.cli.output import Output
    from safetycatch.results.comparing import Comparison, Metric
    from safetycatch.results.matrix import Items, ScoreMatrix
    from safetycatch.store import StoredRun

UNITS = {"points": "proportion"}
RESOURCE_UNITS = {"cost_usd": "usd", "latency_s": "s", "latency_p50": "s", "latency_p95": "s"}


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Read results")(compare)


def compare(
    runs: Annotated[list[str], typer.Argument(help="RUN or RUN:candidate, two or more; the first is the baseline.")],
    metric: Annotated[str | None, typer.Option(help="Default: the baseline run's first metric.")] = None,
    intersect: Annotated[bool, typer.Option(help="Compare the shared items only.")] = False,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override; repeatable.")] = None,
    because: Annotated[str | None, typer.Option(help="Why.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Compare candidates of stored runs item by item; refuses other items (SC204) unless --intersect."""
    from safetycatch.catches import Policy, judge, refuse
    from safetycatch.catches.finding import parse_overrides
    from safetycatch.cli.failure import finding_row
    from safetycatch.cli.output import Output

    if len(runs) < 2:
        raise UsageError("one run", where="safetycatch compare", expected="two or more", fix="safetycatch ls")
    policy = Policy(overrides=parse_overrides(override or [], because))
    sides = [_side(text) for text in runs]
    pairs = [pair for other in sides[1:] for pair in _paired(sides[0], other)]
    findings = judge([_same_items(sides[0], other, intersect=intersect) for other in sides[1:]], policy)
    refuse(findings)
    chosen = _metric(sides[0], metric)
    rows = _compared(pairs, chosen)
    output = Output(json=json)
    output.document(
        {
            "metric": chosen.name,
            "comparisons": [{**row.row(), "p_adjusted": _number(row.p_adjusted)} for row in rows],
            "findings": [finding_row(finding) for finding in findings],
        }
    )
    if not json:
        _show(rows, chosen, [finding for finding in findings if finding.evidence], output)


@dataclass(frozen=True, slots=True)
class _Side:
    """A stored run and the candidates of it that were asked for: all of them, or the one that was named."""

    run: StoredRun
    candidates: tuple[str, ...]
    named: bool


def _side(text: str) -> _Side:
    from safetycatch.cli.reading import load

    run_id, _, candidate = text.partition(":")
    run = load(run_id)
    if run.status != "done":
        raise UsageError(
            f"run {run.run_id} is {run.status}: it has no scores to compare", fix=f"safetycatch show {run.run_id}"
        )
    held = tuple(str(row["id"]) for row in run.summary["result"]["candidates"] if row["status"] != "stored")
    if candidate and candidate not in held:
        raise UsageError(
            f"run {run.run_id} has no candidate {candidate[:80]!r}",
            expected=", ".join(held),
            fix=f"{run.run_id}:{held[0]}" if held else "",
        )
    return _Side(run, (candidate,) if candidate else held, bool(candidate))


def _paired(first: _Side, other: _Side) -> list[tuple[_Side, str, _Side, str]]:
    """Return which candidates to compare: the named ones, else those of one name, else the only ones.

    Raises: UsageError when that leaves a choice.
    """
    if len(first.candidates) == 1 and len(other.candidates) == 1:
        return [(first, first.candidates[0], other, other.candidates[0])]
    shared = [name for name in first.candidates if name in other.candidates]
    if shared and first.run.run_id != other.run.run_id:
        return [(first, name, other, name) for name in shared]
    if first.run.run_id == other.run.run_id and first.named:
        base = first.candidates[0]
        return [(first, base, other, name) for name in other.candidates if name != base]
    raise UsageError(
        f"{first.run.run_id} and {other.run.run_id} leave open which candidates to compare",
        where="safetycatch compare",
        expected=f"{', '.join(first.candidates)} and {', '.join(other.candidates)}",
        fix=f"safetycatch compare {first.run.run_id}:{first.candidates[0]} {other.run.run_id}:{other.candidates[-1]}",
    )


def _same_items(first: _Side, other: _Side, *, intersect: bool) -> Observation:
    from safetycatch.catches.statistics import same_items

    left, right = _contents(first.run), _contents(other.run)
    return same_items(
        left=first.run.run_id,
        right=other.run.run_id,
        only_left=sorted(left.keys() - right.keys()),
        only_right=sorted(right.keys() - left.keys()),
        changed=sorted(name for name in left.keys() & right.keys() if left[name] != right[name]),
        intersect=intersect,
    )


def _contents(run: StoredRun) -> dict[str, str]:
    table = run.table("items", ["example_id", "content"])
    return dict(zip(table["example_id"].to_pylist(), table["content"].to_pylist(), strict=True))


def _metric(side: _Side, name: str | None) -> Metric:
    """Return how a metric of a run is compared and shown.

    Raises: UsageError when the run has no such scores.
    """
    import pyarrow.compute as pc

    from safetycatch.results.comparing import Metric

    main = Metric(**side.run.summary["summary"]["metric"])
    if name is None or name == main.name:
        return main
    scores = side.run.table("scores", ["metric", "value"])
    known = scores["metric"].unique().to_pylist()
    if name not in known:
        raise UsageError(f"run {side.run.run_id} has no scores of {name[:80]!r}", expected=", ".join(known))
    if name in RESOURCE_UNITS:
        return Metric(name, RESOURCE_UNITS[name], higher_is_better=False, rate=False)
    values = scores.filter(pc.field("metric") == name)["value"].drop_null().unique().to_pylist()
    bounded = all(0 <= value <= 1 for value in values)
    return Metric(name, "points" if bounded else "score", rate=set(values) <= {0.0, 1.0})


def _compared(pairs: list[tuple[_Side, str, _Side, str]], metric: Metric) -> list[Comparison]:
    """Return every pair's difference on the items that both runs hold, p-values Holm-adjusted over the pairs."""
    from dataclasses import replace

    import numpy as np

    from safetycatch.results.comparing import compare as difference
    from safetycatch.stats import holm

    found: list[Comparison] = []
    for first, base, other, name in pairs:
        matrix = _matrix(first, base, metric.name).joined(_matrix(other, name, metric.name), other.run.run_id)
        if not matrix.items.ids:
            raise UsageError("the runs share no item", where="safetycatch compare", expected="runs over the same data")
        if not matrix.has(base, metric.name):
            raise UsageError(
                f"{metric.name} is a metric of the whole set, and only some items are shared",
                where="safetycatch compare",
                fix="--metric accuracy, or runs over the same items",
            )
        row = difference(matrix, f"{other.run.run_id}:{name}", base, metric)
        found.append(replace(row, baseline=f"{first.run.run_id}:{base}"))
    adjusted = holm([row.p_adjusted for row in found]) if found else np.array([])
    return [replace(row, p_adjusted=float(p_value)) for row, p_value in zip(found, adjusted, strict=True)]


def _matrix(side: _Side, candidate: str, metric: str) -> ScoreMatrix:
    import pyarrow.compute as pc

    from safetycatch.results.matrix import build_matrix

    scores = side.run.table("scores")
    scores = scores.filter((pc.field("candidate") == candidate) & (pc.field("metric") == metric))
    if not scores.num_rows:
        raise UsageError(f"no scores of {metric!r}", where=f"{side.run.run_id}:{candidate}", fix="--metric accuracy")
    replicates = max(scores["replicate"].to_pylist()) + 1
    return build_matrix(_items(side.run.table("items")), scores.to_batches(), replicates)


def _items(table: pa.Table) -> Items:
    import numpy as np

    from safetycatch.results.matrix import Items

    def column(name: str) -> Any:
        return np.asarray(table[name].to_pylist(), dtype=object)

    ids = tuple(table["example_id"].to_pylist())
    return Items(ids, column("cluster_id"), {}, np.full(len(ids), None, dtype=object), column("content"))


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself


def _show(rows: list[Comparison], metric: Metric, findings: list[Any], output: Output) -> None:
    from safetycatch.report.numbers import p_value, shown

    output.line(output.painted(f"{metric.name}, candidate - baseline, paired by item", "strong"))
    for row in rows:
        d = row.difference
        if d is None:
            text = f"no difference: {row.reason}, n = {row.n:,}"
        else:
            text = (
                f"{shown(d.estimate, d.low, d.high, UNITS.get(metric.unit, metric.unit), difference=True).text}, "
                f"n = {row.n:,}, p = {p_value(row.p_adjusted)}"
            )
            text += f" (Holm over {len(rows)})" if len(rows) > 1 else ""
            text += f", clustered ({d.n_clusters:,})" if d.n_clusters < d.n else ""
        output.table([(f"  {row.candidate}", "vs", row.baseline, text)])
        if row.n_missing:
            output.field("", f"{row.n_missing:,} items without both scores are left out")
    for finding in findings:
        output.field(finding.code, finding.saw)
