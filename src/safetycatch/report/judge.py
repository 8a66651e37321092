"""Judge vs people: what a judge's scores are worth, raw beside corrected, and what the correction rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.report import axes, charts, escaping, numbers
from safetycatch.report.content import measured
from safetycatch.report.judged import JUDGE, METHODS, unit_of
from safetycatch.report.layout import Block, DotPlot, DotRow, Fold, Grid, Prose, Section, grid, heads
from safetycatch.report.selection import in_words, present, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from safetycatch.report.content import ReportContent


def judge(content: ReportContent) -> Section | None:
    """Return the section about the judge; None where nothing is judged."""
    facts = content.judged
    if facts is None:
        return None
    blocks: list[Block] = [Prose(line) for line in facts["told"]]
    rows = [row for row in facts["rates"] if row["slice"] == "all"]
    if any(row["method"] or not row.get("withheld") for row in rows):
        blocks.append(_rates_plot(facts, rows))
    certificate = facts["certificate"]
    sealed = certificate["sealed"] if certificate else []
    if certificate:
        blocks.extend(_errors_plot(sealed))
        blocks.append(_confusion(sealed))
    blocks.extend(Prose(_canaries(canaries)) for canaries in facts.get("canaries") or ())
    grids = [_rates_grid(facts, rows)] if rows else []
    grids += [_differences_grid(facts)] if facts["differences"] else []
    if certificate:
        grids += [_agreement(certificate), *_slices(certificate)]
    blocks.append(Fold("Numbers behind these plots", tuple(grids)))
    blocks.append(
        Prose(
            "Flips and item health count the judge's own verdicts, uncorrected.",
            quiet=True,
        )
    )
    return Section("judge", "Judge vs people", tuple(blocks))


def _rates_plot(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Block:
    """Return each candidate's figure as it counts, and the raw one below it."""
    unit = numbers.unit_named(unit_of(facts, JUDGE))
    own = [
        row for row in rows if unit_of(facts, row["metric"]) == unit.name and (row["method"] or not row.get("withheld"))
    ]
    ends = (
        x for row in own for name in ("estimate", "low", "high", "raw", "raw_low", "raw_high") for x in (row[name],)
    )
    bounds = (0.0, 100.0) if unit.name == "proportion" else (-float("inf"), float("inf"))
    axis = axes.linear_axis(present(ends, unit.factor), bounds=bounds)
    drawn: list[DotRow] = []
    for row in own:
        several = f", {row['metric']}" if row["metric"] != JUDGE else ""
        corrected = bool(row["method"])
        drawn.append(
            _dot(row, ("estimate", "low", "high"), unit.name, axis, row["candidate"] + several, raw=not corrected)
        )
        if corrected and measured(row["raw"]) is not None:
            drawn.append(
                _dot(row, ("raw", "raw_low", "raw_high"), unit.name, axis, row["candidate"] + several, raw=True)
            )
    caption = "Corrected and raw" if any(row["method"] for row in own) else "Raw: the judge's own verdicts"
    return DotPlot(
        caption, ("candidate", f"{caption}, with 95 % interval", unit.heading()), tuple(drawn), charts.scale(axis),
        "Filled: corrected for the judge's errors. Hollow: its own verdicts, whose interval knows nothing of them.",
    )  # fmt: skip


def _dot(
    row: Mapping[str, Any], keys: tuple[str, str, str], unit: str, axis: axes.Axis, name: str, *, raw: bool
) -> DotRow:
    estimate, low, high = (row[key] for key in keys)
    text = numbers.shown(estimate, low, high, unit)
    factor = text.unit.factor
    what = "raw" if raw else "corrected"
    drawing = charts.Mark(
        scaled(estimate, factor),
        scaled(low, factor),
        scaled(high, factor),
        in_words(f"{name}, {what}", text),
        look="muted" if raw else "plain",
        hollow=raw,
    )
    n = f"n = {row['n']:,}" + ("" if raw else f", {row['n_labels']:,} labels")
    return DotRow(name, n, charts.row(drawing, axis), text.value, text.interval, what)


def _errors_plot(sealed: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return how often the judge passes what people pass, and fails what they fail, on sealed labels."""
    words = {"tpr": "TPR, it says so where people do", "tnr": "TNR, it does not where people do not"}
    figures = [
        (one["positive"], words[name], one["figures"][name])
        for one in sealed
        for name in words
        if name in one["figures"]
    ]
    values = present((figure[key] for _, _, figure in figures for key in ("estimate", "low", "high")), 100.0)
    if not values:
        return []
    axis = axes.linear_axis(values, bounds=(0.0, 100.0))
    drawn: list[DotRow] = []
    for positive, word, figure in figures:
        text = numbers.shown(figure["estimate"], figure["low"], figure["high"], "proportion")
        label = f"{positive}: {word}"
        drawing = charts.Mark(
            scaled(figure["estimate"], 100.0), scaled(figure["low"], 100.0), scaled(figure["high"], 100.0),
            in_words(label, text),
        )  # fmt: skip
        drawn.append(DotRow(label, f"n = {figure['n']:,}", charts.row(drawing, axis), text.value, text.interval))
    caption = "Against people, on sealed labels"
    return [DotPlot(caption, ("rate", f"{caption}, with 95 % interval", "%"), tuple(drawn), charts.scale(axis))]


def _confusion(sealed: Sequence[Mapping[str, Any]]) -> Grid:
    rows: list[tuple[str | Markup, ...]] = []
    for one in sealed:
        positive = one["positive"]
        rows.append((f"people: {positive}", numbers.count(one["tp"]), numbers.count(one["fn"])))
        rows.append((f"people: not {positive}", numbers.count(one["fp"]), numbers.count(one["tn"])))
    return grid("Sealed labels", heads("", "#the judge says so", "#the judge does not"), rows, css="narrow")


def _agreement(certificate: Mapping[str, Any]) -> Grid:
    rows: list[tuple[str | Markup, ...]] = []
    named = [("", certificate["overall"]), *((one["positive"], one["figures"]) for one in certificate["sealed"])]
    for of, figures in named:
        for name, figure in figures.items():
            values = (numbers.fixed(figure[key], 3) for key in ("estimate", "low", "high", "lower"))
            rows.append((name, of or "all verdicts", *values, numbers.count(figure["n"]), figure["method"]))
    columns = heads("figure", "of", "#estimate", "#low", "#high", "#lower bound (one-sided)", "#n", "method")
    return grid("Agreement on sealed labels", columns, rows, "the certificate")


def _slices(certificate: Mapping[str, Any]) -> list[Grid]:
    if not certificate["slices"]:
        return []
    rows: list[tuple[str | Markup, ...]] = [
        (
            escaping.html(one["slice"]),
            one["figure"].upper(),
            numbers.fixed(one["estimate"], 3),
            numbers.count(one["n"]),
            numbers.fixed(one["rest"], 3),
            numbers.count(one["n_rest"]),
            numbers.p_value(one["p_adjusted"]),
        )
        for one in certificate["slices"]
    ]
    columns = heads("slice", "rate", "#in it", "#n", "#elsewhere", "#n elsewhere", "#p adjusted (Holm)")
    return [grid("The judge's errors by slice", columns, rows, "the certificate")]


def _rates_grid(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Grid:
    cells: list[tuple[str | Markup, ...]] = []
    for row in rows:
        unit = unit_of(facts, row["metric"])
        text = numbers.shown(row["estimate"], row["low"], row["high"], unit)
        raw = numbers.shown(row["raw"], row["raw_low"], row["raw_high"], unit)
        hidden = bool(row.get("withheld")) or (bool(row["method"]) and measured(row["raw"]) is None)
        cells.append(
            (
                row["candidate"],
                row["metric"],
                f"{text.value} {text.interval}" if row["method"] else "not corrected",
                "withheld: provisional certificate" if hidden else f"{raw.value} {raw.interval}",
                METHODS.get(row["method"], row["reason"] or "not corrected"),
                numbers.count(row["n"]),
                numbers.count(row["n_labels"]),
                numbers.plain(row["gain"], 3),
            )
        )
    columns = heads(
        *("candidate", "metric", "#corrected, 95 % interval", "#raw, 95 % interval", "~method"),
        *("#n", "#labels", "#effective-label gain"),
    )
    return grid("Judged scores, corrected and raw", columns, cells, "judging.json")


def _differences_grid(facts: Mapping[str, Any]) -> Grid:
    cells: list[tuple[str | Markup, ...]] = []
    for row in facts["differences"]:
        unit = unit_of(facts, row["metric"])
        text = numbers.shown(row["estimate"], row["low"], row["high"], unit, difference=True)
        raw = numbers.shown(row["raw"], row["raw_low"], row["raw_high"], unit, difference=True)
        hidden = bool(row.get("withheld")) or (bool(row["method"]) and measured(row["raw"]) is None)
        cells.append(
            (
                row["candidate"],
                row["baseline"],
                row["slice"],
                row["metric"],
                f"{text.value} {text.interval}" if row["method"] else "not corrected",
                "withheld: provisional certificate" if hidden else f"{raw.value} {raw.interval}",
                METHODS.get(row["method"], row["reason"] or "not corrected"),
                numbers.count(row["n"]),
            )
        )
    columns = heads(
        *("candidate", "baseline", "slice", "metric", "#corrected, 95 % interval", "#raw, 95 % interval"),
        *("~method", "#n"),
    )
    return grid("Judged differences, corrected and raw", columns, cells, "judging.json")


def _canaries(found: Mapping[str, Any]) -> str:
    text = (
        f"Canaries of {found['judge']}, answers that ask for a verdict: {found['obeyed']:,} of {found['n']:,} were "
        "rated higher than their twins that ask for the opposite"
    )
    if found["obeyed"]:
        text += f", such as {found['example']!r}; {found['defied']:,} lower (by chance: p = {found['p_value']:.3f})"
    return f"{text}." + (f" {found['n_missing']:,} gave no verdict." if found["n_missing"] else "")
