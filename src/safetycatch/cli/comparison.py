"""One comparison, from arguments to facts and to a JSON document."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from safetycatch.errors import UsageError
from safetycatch.report.comparison import NoiseRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safetycatch.catches import Finding, Observation, Policy
    from safetycatch.cli.sides import Arrangement
    from safetycatch.cli.sources import Source
    from safetycatch.data.foreign import Wanted
    from safetycatch.results.comparing import Comparison, Metric
    from safetycatch.results.matrix import ScoreMatrix
    from safetycatch.results.sides import Noise, Side, SideBySide
    from safetycatch.stats import Verdict

UNITS = {"points": "proportion", "score": ""}
MAX_FLIP_IDS = 500  # of each kind in the JSON document
ADVICE = 'add --smallest-effect "3 points" for a verdict'


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for beside the sides."""

    wanted: Wanted
    policy: Policy
    metric: str | None = None
    smallest_effect: str | None = None
    lower_is_better: bool = False
    intersect: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """The facts of one comparison; `smallest_effect` is in the metric's unit."""

    arrangement: Arrangement
    sources: tuple[Source, ...]
    metric: Metric
    smallest_effect: float | None
    matrix: ScoreMatrix
    facts: SideBySide
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    looks: tuple[tuple[str, str], ...] = ()
    judged: dict[str, Any] | None = None

    def beside(self, candidate: str) -> str:
        """Return what stands beside a judged figure; empty beside any other."""
        from safetycatch.report.judged import mark, rate_of

        row = rate_of(self.judged, candidate, self.metric.name) if self.judged else None
        return mark(self.judged, row) if self.judged and row else ""

    def said(self, verdict: Verdict) -> str:
        """Return a verdict's sentence; of a judged difference with what stands beside it."""
        rows = (row for row in self.facts.differences if row.candidate == verdict.candidate)
        told = next((self.beside_difference(row) for row in rows if row.baseline == verdict.baseline), "")
        return f"{verdict.sentence} Judged, {told}." if told else verdict.sentence

    def beside_difference(self, row: Comparison) -> str:
        """Return what stands beside a judged difference; empty beside any other."""
        from safetycatch.report.judged import difference_of, mark

        facts = self.judged
        found = difference_of(facts, row.baseline, row.candidate, row.metric, row.slice) if facts else None
        return mark(facts, found, difference=True) if facts and found else ""

    @property
    def unit(self) -> str:
        """The metric's unit as the report names it."""
        return UNITS.get(self.metric.unit, self.metric.unit)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the headline's candidate."""
        headline = self.facts.headline
        return self.facts.verdicts.get(headline.candidate) if headline else None


def compared(texts: Sequence[str], options: Options) -> Compared:
    """Return the comparison of the sides that `texts` name; looks at test splits are recorded before it is returned.

    Raises: UsageError, DataError for what cannot be read or compared; RefusedError for other items (SC204).
    """
    from safetycatch.catches import judge, refuse
    from safetycatch.cli.judged_sides import judged_of, judging_of_sides
    from safetycatch.cli.sides import arranged, chosen_metric, fitted
    from safetycatch.cli.sources import read_source
    from safetycatch.results.sides import joined, side_by_side

    sources = tuple(read_source(text, options.wanted) for text in texts)
    if len({source.key for source in sources}) == 1 and not any(source.renamed for source in sources):
        # The systems' own names tell them apart.
        sources = tuple(replace(source, label="") if all(source.parts) else source for source in sources)
    arrangement = arranged(sources)
    chosen = chosen_metric(arrangement.systems, options.metric, lower_is_better=options.lower_is_better)
    sides = [source.side(part, chosen.scores[source.name(part)]) for source, part in arrangement.systems]
    same, unknown = _same_items(arrangement, sides, intersect=options.intersect)
    refuse(judge(same, options.policy))
    metric, scale = fitted(chosen.metric, sides)
    effect = effect_of(options.smallest_effect, metric)
    _check_columns(sources, sides, options.wanted)
    if names := options.wanted.slices:
        sides = [
            replace(side, slices={name: side.slices[name] for name in names if name in side.slices}) for side in sides
        ]
    matrix, joining = joined(sides, metric.name)
    _check_whole(matrix, sides, metric)
    judging = judging_of_sides(arrangement, metric.name)
    facts = side_by_side(
        matrix, metric, arrangement.versus, smallest_effect=effect, pairs=not arrangement.by_name, judging=judging
    )
    told = [note for source in sources for note in source.notes]
    findings = judge([*same, *_observed(matrix, metric, facts, options.policy)], options.policy)
    looks = _looked(sources)
    missing = _missing_notes(facts, metric, len(matrix.items.ids))
    notes = tuple(dict.fromkeys([*missing, *_twins(sources), *told, *chosen.notes, *scale, *joining, *unknown]))
    judged = judged_of(facts, judging)
    return Compared(arrangement, sources, metric, effect, matrix, facts, findings, notes, looks, judged)


def effect_of(text: str | None, metric: Metric) -> float | None:
    """Return the smallest effect in the metric's unit; None without one.

    Raises: UsageError for what is no size above 0, a relative one, or 3 where 3 points are meant.
    """
    from pydantic import ValidationError

    from safetycatch.experiment import Amount

    if text is None:
        return None
    where, expected = "--smallest-effect", "a size such as '3 points', 0.03 or '$0.01'"
    try:
        size = Amount.model_validate(text)
    except ValidationError:
        raise UsageError(f"{text[:60]!r} is no size", where=where, expected=expected) from None
    if size.relative or not size.value:
        raise UsageError(f"{text[:60]!r}", where=where, expected="a size above 0 that is not relative: '3 points'")
    if metric.unit != "points" and "p" in text:
        raise UsageError(
            f"{text[:60]!r} of {metric.name}, which is no share of items",
            where=where,
            expected="a size in its own unit: 0.3",
        )
    if metric.unit == "points" and size.value >= 1:
        raise UsageError(
            f"{text[:60]!r} of {metric.name}, which lies between 0 and 1",
            where=where,
            expected="a fraction below 1, or points",
            fix=f"--smallest-effect '{size.value:g} points'",
        )
    return size.value


def _same_items(
    arrangement: Arrangement, sides: Sequence[Side], *, intersect: bool
) -> tuple[list[Observation], list[str]]:
    """Return what SC204 sees of each pair, and notes on those that are paired by id alone."""
    from safetycatch.catches.statistics import same_items
    from safetycatch.results.sides import mismatch

    by_name = {side.name: side for side in sides}
    homes = {source.name(part): source for source, part in arrangement.systems}
    seen: list[Observation] = []
    notes: list[str] = []
    for left, right in arrangement.versus:
        found = mismatch(by_name[left], by_name[right])
        lists = {"only_left": found.only_left, "only_right": found.only_right, "changed": found.changed}
        observed = same_items(left=left, right=right, **lists, intersect=intersect)
        if not found.n_shared and observed.seen == "fired":
            observed = replace(observed, fix="name the columns that hold the same ids: --item COLUMN")
        seen.append(observed)
        if not found.checked and homes[left].key != homes[right].key:
            both = f"{homes[left].label} and {homes[right].label}"
            notes.append(f"{both} are paired by id alone: that the ids mean the same items was not checked")
    return seen, notes


def _missing_notes(facts: SideBySide, metric: Metric, n_items: int) -> list[str]:
    """Return which items the figures leave out, and where one side lacks more than the other."""
    from safetycatch.report.numbers import effect

    n_shared = max((row.n for row in facts.estimates), default=0)
    notes: list[str] = []
    if n_shared < n_items:
        lacks = ", ".join(f"{row.candidate} {row.n_missing:,}" for row in facts.estimates if row.n_missing)
        notes.append(
            f"all figures are of the {n_shared:,} items of {n_items:,} that every side has a score of; missing: {lacks}"
        )
    for gap in facts.uneven:
        more, fewer = gap.candidate, gap.baseline
        if gap.baseline_missing > gap.candidate_missing:
            more, fewer = fewer, more
        most, least = sorted((gap.candidate_missing, gap.baseline_missing), reverse=True)
        text = f"{more} lacks {most:,} of {gap.n_items:,} scores and {fewer} {least:,}: if those are the hard items, "
        text += f"{more} looks better here than it is"
        if not math.isnan(gap.counted_wrong):
            sign = "+" if gap.counted_wrong > 0 else "-" if gap.counted_wrong < 0 else ""
            size = effect(round(abs(gap.counted_wrong), 3), UNITS.get(metric.unit, metric.unit))
            text += f"; counted as wrong, {gap.candidate} - {gap.baseline} is {sign}{size}"
        notes.append(text)
    return notes


def _twins(sources: Sequence[Source]) -> list[str]:
    """Return a note on files that hold the same bytes."""
    from safetycatch.cli.sources import FileSource

    files = {source.key: source for source in sources if isinstance(source, FileSource)}
    first: dict[str, FileSource] = {}
    notes: list[str] = []
    for source in files.values():
        twin = first.setdefault(source.file.sha256, source)
        if twin is not source:
            notes.append(f"{twin.file.path} and {source.file.path} hold the same bytes: one is a copy of the other")
    return notes


def _check_columns(sources: Sequence[Source], sides: Sequence[Side], wanted: Wanted) -> None:
    """Refuse a cluster or slice column that nothing has: one file is enough."""
    from safetycatch.cli.sources import FileSource

    if wanted.cluster and not any(isinstance(source, FileSource) and source.clustered for source in sources):
        names = " or ".join(map(repr, wanted.cluster))
        raise UsageError(f"no file has a column {names} with clusters", where="--cluster")
    held = {name for side in sides for name in side.slices}
    for name in wanted.slices:
        if name not in held:
            raise UsageError(
                f"no slice {name!r}", where="--slice", expected=", ".join(sorted(held)) or "a column of a file"
            )


def _check_whole(matrix: ScoreMatrix, sides: Sequence[Side], metric: Metric) -> None:
    n_items = len(matrix.items.ids)
    if not n_items:
        raise UsageError(
            "the sides share no item", where="safetycatch compare", expected="results over the same items: equal ids"
        )
    if metric.corpus and n_items < max(len(side.ids) for side in sides):
        raise UsageError(
            f"{metric.name} is a metric of the whole set, and only some items are shared",
            where="safetycatch compare",
            fix="--metric accuracy, or results over the same items",
        )


def _observed(matrix: ScoreMatrix, metric: Metric, facts: SideBySide, policy: Policy) -> Iterator[Observation]:
    from safetycatch.catches.statistics import clusters, errors, family

    luck = facts.health.luck if facts.health else None
    yield family(
        n_compared=len(facts.differences),
        n_scored=len(matrix.candidates),
        k_history=len(matrix.candidates),
        luck=luck,
        metric=metric.name,
    )
    failed = {row.candidate: (row.n_missing, len(matrix.items.ids)) for row in facts.estimates}
    missing = errors(failed=failed, policy=policy, classes={})
    # Sending again, which a run advises, brings no score into a file.
    yield (
        replace(missing, fix="fill in the missing scores, or run again where they come from")
        if missing.fix
        else missing
    )
    if matrix.items.clustered:
        yield clusters(n_clusters=matrix.items.n_clusters, policy=policy)


def _looked(sources: Sequence[Source]) -> tuple[tuple[str, str], ...]:
    """Record that test scores of stored runs are seen; return each run and the looks at its test set so far."""
    from safetycatch.cli.reading import open_store
    from safetycatch.cli.sources import RunSource
    from safetycatch.store.looks import looker, looks_text, record_seen

    store = open_store()
    told: dict[str, str] = {}
    for source in sources:
        if isinstance(source, RunSource) and store is not None and source.key not in told:
            looks = record_seen(store, source.run, "compare", looker(), store.clock())
            if looks:
                told[source.key] = looks_text(looks, source.run.name)
    return tuple(told.items())


def document(found: Compared) -> dict[str, Any]:
    """Return the comparison as JSON."""
    from safetycatch.cli.failure import finding_row

    facts, metric = found.facts, found.metric
    names = [source.name(part) for source, part in found.arrangement.systems]
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "smallest_effect": found.smallest_effect,
        "baseline": found.arrangement.versus[0][0] if not found.arrangement.by_name else None,
        "n_items": len(found.matrix.items.ids),
        "n_clusters": found.matrix.items.n_clusters,
        "sides": [
            {"name": name, "source": source.told}
            for name, (source, _) in zip(names, found.arrangement.systems, strict=True)
        ],
        "estimates": [{**row.facts(), "n_own": facts.own[row.candidate]} for row in facts.estimates],
        "comparisons": [row.row() for row in facts.differences],
        "verdicts": {
            name: {"kind": one.kind, "sentence": one.sentence, "check": one.check, "n_to_settle": one.n_to_settle}
            for name, one in facts.verdicts.items()
        },
        "pairs": [row.row() for row in facts.pairs],
        "slices": [row.row() for row in facts.slices],
        "flips": [
            {
                "candidate": row.candidate,
                "baseline": row.baseline,
                "n_fixed": len(row.fixed),
                "n_broken": len(row.broken),
                "fixed": row.fixed[:MAX_FLIP_IDS],
                "broken": row.broken[:MAX_FLIP_IDS],
            }
            for row in facts.flips
        ],
        "health": asdict(facts.health) if facts.health else None,
        "variance": [asdict(noise_row(row)) for row in facts.noise],
        "findings": [finding_row(finding) for finding in found.findings],
        "notes": list(found.notes),
        "looks": dict(found.looks),
        **({"judged": found.judged} if found.judged is not None else {}),
    }


def noise_row(row: Noise) -> NoiseRow:
    """Return a side's variance as it is shown: clusters count as items."""
    parts = row.components
    if parts is None:
        return NoiseRow(row.side, row.n_runs, reason=row.reason)
    between = parts.between + (0.0 if math.isnan(parts.cluster) else parts.cluster)
    errors = (parts.se(row.n_runs), parts.se(1), parts.se(math.inf))
    return NoiseRow(row.side, row.n_runs, parts.within, between, errors, "; ".join(parts.warnings))
