"""What the sections have in common: which rows count, in which order, and how counts and intervals are said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import numbers
from safetycatch.report.content import measured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safetycatch.report.content import CandidateRow, ComparisonRow, ReportContent


_SPLIT_ORDER = {"test": 0, "dev": 1, "train": 2}


def units(content: ReportContent) -> dict[str, str]:
    """Return the unit of every metric that the content names."""
    known = {row.metric: row.unit for row in content.guardrails}
    known |= {other.name: other.unit for row in content.candidates for other in row.other_metrics}
    return known | {content.metric: content.unit}


def by_split(content: ReportContent) -> dict[str, list[CandidateRow]]:
    """Return the candidates of each split, best first; the split that counts (test) comes first."""
    sign = -1 if content.higher_is_better else 1

    def place(row: CandidateRow) -> tuple[bool, float, str]:
        value = measured(row.estimate)
        return value is None, 0.0 if value is None else sign * value, row.id

    splits = sorted(dict.fromkeys(row.split for row in content.candidates), key=lambda s: _SPLIT_ORDER.get(s, 3))
    return {split: sorted((row for row in content.candidates if row.split == split), key=place) for split in splits}


def main_rows(content: ReportContent) -> list[CandidateRow]:
    """Return the candidates of the split that counts, best first."""
    return next(iter(by_split(content).values()), [])


def headline(content: ReportContent) -> str:
    """Return the candidate that the report is about: the one named, else the best that is not the baseline."""
    others = [row.id for row in main_rows(content) if not row.baseline]
    return content.headline_candidate or next(iter(others), "")


def overall(content: ReportContent) -> list[ComparisonRow]:
    """Return the comparisons on all rows in the report's metric, best first."""
    sign = -1 if content.higher_is_better else 1
    rows = [row for row in content.comparisons if row.slice == "all" and row.metric == content.metric]
    return sorted(
        rows, key=lambda row: (measured(row.estimate) is None, sign * (measured(row.estimate) or 0), row.candidate)
    )


def present(values: Iterable[float | None], factor: float = 1.0) -> list[float]:
    """Return the measured values times `factor`."""
    return [x * factor for value in values if (x := measured(value)) is not None]


def scaled(value: float | None, factor: float) -> float | None:
    """Return the value times `factor`, or None when it was not measured."""
    value = measured(value)
    return None if value is None else value * factor


def counts_text(
    n: int, n_missing: int, n_clusters: int | None = None, n_unparsable: int = 0, *, p_adjusted: float | None = None
) -> str:
    """Return `n = 384, 37 clusters, 3 missing`."""
    parts = [f"n = {n:,}"]
    if n_clusters is not None and n_clusters < n:
        parts.append(f"{n_clusters:,} clusters")
    if n_missing:
        parts.append(f"{n_missing:,} missing")
    if n_unparsable:
        parts.append(f"{n_unparsable:,} unparsable")
    if measured(p_adjusted) is not None:
        p = numbers.p_value(p_adjusted)
        parts.append(f"adjusted p {p[0]} {p[1:]}" if p.startswith("<") else f"adjusted p = {p}")
    return ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


def beside(text: str, more: str) -> str:
    """Return `text`, and in brackets what stands beside a judged figure."""
    return f"{text} ({more})" if more else text


def in_words(what: str, shown: numbers.Shown) -> str:
    """Return `what`, its value and interval as a screen reader should say them."""
    interval = f", 95 % interval {shown.low} to {shown.high}" if shown.interval != numbers.ABSENT else ""
    return f"{what}: {shown.value}{interval}"
