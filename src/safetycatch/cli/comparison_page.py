"""What the page of a comparison shows, filled from its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.cli.comparison import ADVICE, noise_row
from safetycatch.report import content as shown
from safetycatch.report.comparison import Changed, ComparisonContent

if TYPE_CHECKING:
    from datetime import datetime

    from safetycatch.cli.comparison import Compared
    from safetycatch.results.comparing import Comparison

MAX_FLIPS = 200


def content_of(found: Compared, now: datetime, command: str = "") -> ComparisonContent:
    """Return what the page shows; `now` is its date, `command` what reproduces it."""
    facts, metric = found.facts, found.metric
    names = [source.name(part) for source, part in found.arrangement.systems]
    others = [row.candidate for row in facts.differences]
    baselines = {base for base, _ in found.arrangement.versus}
    title = f"{others[0]} against {names[0]}" if len(others) == 1 else f"{len(names)} systems on {metric.name}"
    health = facts.health
    report = shown.ReportContent(
        name=title,
        run_id=f"{len(names)} systems, {len(found.matrix.items.ids):,} items",
        mode="exploring",
        created_at=now.isoformat(timespec="seconds"),
        banner=_banner(found),
        metric=metric.name,
        unit=found.unit,
        higher_is_better=metric.higher_is_better,
        smallest_effect=found.smallest_effect,
        candidates=tuple(
            shown.CandidateRow(
                row.candidate,
                "the shared items",
                "done",
                row.n,
                row.estimate,
                row.low,
                row.high,
                method=row.method,
                n_missing=row.n_missing,
                n_clusters=row.n_clusters,
                baseline=row.candidate in baselines,
                beside=found.beside(row.candidate),
            )
            for row in facts.estimates
        ),
        comparisons=tuple(_row(row, found) for row in (*facts.differences, *facts.slices)),
        judged=found.judged,
        findings=tuple(
            shown.FindingRow(
                one.code, one.level, one.status, one.title, one.saw, one.matters, one.fix, one.alternative, one.reason
            )
            for one in found.findings
        ),
        flips=_flips(found),
        flip_counts=tuple(
            shown.FlipCount(row.candidate, row.baseline, len(row.fixed), len(row.broken)) for row in facts.flips
        ),
        item_health=None
        if health is None
        else shown.ItemHealth(
            health.n,
            health.solved_by_all,
            health.solved_by_none,
            health.discordant,
            None if health.luck is None else 100 * health.luck,
            health.k,
        ),
        provenance=_provenance(found),
        command=command,
        notes=found.notes,
        headline_candidate=facts.headline.candidate if facts.headline else "",
        unmeasured={
            "flips": f"{metric.name} is no right or wrong",
            "items": f"{metric.name} is no right or wrong",
            "slices": "no side has slices (--slice COLUMN, or slices under data of the experiment)",
            "confusions": "scores hold no labels",
        },
    )
    pairs = tuple(_row(row, found) for row in facts.pairs)
    changed = tuple(Changed(row.candidate, row.baseline, row.fixed, row.broken) for row in facts.flips)
    return ComparisonContent(report, pairs, facts.n_unpaired, changed, tuple(noise_row(row) for row in facts.noise))


def _banner(found: Compared) -> shown.Banner:
    from safetycatch.report.numbers import p_value
    from safetycatch.report.numbers import shown as figures
    from safetycatch.report.selection import beside

    headline, verdict = found.facts.headline, found.verdict
    best = (
        f" The best of {len(found.facts.differences)}, chosen after the fact."
        if len(found.facts.differences) > 1
        else ""
    )
    if verdict is not None:
        return shown.Banner(
            verdict.kind, f"{found.said(verdict)}{best}", verdict.check, f"{verdict.default_action}.".capitalize()
        )
    if headline is None:
        return shown.Banner("EXPLORING", "No difference could be computed.")
    d = headline.difference
    kind = "EXPLORING" if found.smallest_effect is None else "INCONCLUSIVE"
    low, high = (None, None) if d is None else (d.low, d.high)
    text = figures(headline.estimate, low, high, found.unit, difference=True).text
    p = p_value(headline.p_adjusted)
    text = beside(text, found.beside_difference(headline))
    sentence = f"{headline.candidate} against {headline.baseline}: {text}, n = {headline.n:,}"
    sentence += f", adjusted p {p if p.startswith('<') else '= ' + p}" if d is not None else f"; {headline.reason}"
    advice = f"{ADVICE[0].upper()}{ADVICE[1:]}." if found.smallest_effect is None else ""
    return shown.Banner(kind, f"{sentence}.{best}", "" if d is None else d.method, advice)


def _row(row: Comparison, found: Compared) -> shown.ComparisonRow:
    d = row.difference
    return shown.ComparisonRow(
        row.baseline,
        row.candidate,
        row.metric,
        row.estimate,
        None if d is None else d.low,
        None if d is None else d.high,
        row.n,
        row.slice,
        None if d is None else d.p_value,
        row.p_adjusted,
        None if d is None else d.n_clusters,
        row.n_missing,
        row.reason if d is None else d.method,
        row.verdict,
        row.correction,
        row.detectable,
        found.beside_difference(row),
    )


def _flips(found: Compared) -> tuple[shown.Flip, ...]:
    """Return one pair's flips, the headline's if it has any, with both sides' texts; none where outputs are unknown."""
    headline = found.facts.headline
    order = sorted(found.facts.flips, key=lambda row: headline is None or row.candidate != headline.candidate)
    pair = next((row for row in order if row.fixed or row.broken), None)
    if pair is None:
        return ()
    half = MAX_FLIPS // 2
    ids = [*pair.fixed[:half], *pair.broken[:half]]
    texts = {source.name(part): source.texts(part, ids) for source, part in found.arrangement.systems}
    ours, theirs = texts[pair.candidate], texts[pair.baseline]
    if not (ours.get("output") and theirs.get("output")):
        return ()

    def known(kind: str, name: str) -> str:
        return next((text for side in (ours, theirs) if (text := side.get(kind, {}).get(name))), "")

    return tuple(
        shown.Flip(
            pair.candidate,
            pair.baseline,
            name,
            known("input", name),
            known("target", name),
            theirs.get("output", {}).get(name),
            ours.get("output", {}).get(name),
            "fixed" if number < len(pair.fixed[:half]) else "broken",
        )
        for number, name in enumerate(ids)
    )


def _provenance(found: Compared) -> tuple[tuple[str, str], ...]:
    from safetycatch.store.environment import environment

    rows = [(source.name(part), source.told) for source, part in found.arrangement.systems]
    rows += [(f"looks at the test set of {run_id}", text) for run_id, text in found.looks]
    packages = environment()["packages"]
    return (*rows, ("versions", f"safetycatch {packages.get('safetycatch', 'unknown')}"))
