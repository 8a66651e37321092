"""Which systems `compare` sets against which, on which metric."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safetycatch.cli.sources import FileSource, RunSource
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.cli.sources import Source
    from safetycatch.results.comparing import Metric
    from safetycatch.results.sides import Side

VERB = "safetycatch compare"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The systems in order and who stands against whom, by name; `by_name`: each against its namesake elsewhere."""

    systems: tuple[tuple[Source, str], ...]
    versus: tuple[tuple[str, str], ...]
    by_name: bool = False


def arranged(sources: Sequence[Source]) -> Arrangement:
    """Return the first system as baseline of all others; whole runs with the same candidates pair those by name.

    Raises: UsageError when that leaves a choice, when there is one system only, or when two have one name.
    """
    first, *others = sources
    if others and len(first.parts) > 1:
        shared = [part for part in first.parts if all(part in other.parts for other in others)]
        if not shared or len({source.key for source in sources}) < len(sources):
            raise _open(first, others)
        systems = [(source, part) for part in shared for source in sources]
        versus = [(first.name(part), other.name(part)) for part in shared for other in others]
        return Arrangement(_distinct(systems), tuple(versus), by_name=len(shared) > 1)
    systems = [(first, part) for part in first.parts]
    for other in others:
        namesake = set(first.parts) <= set(other.parts) and not other.named and other.key != first.key
        parts = first.parts if namesake and isinstance(other, RunSource) else other.parts
        there = {(source.key, part) for source, part in systems}
        systems.extend((other, part) for part in parts if (other.key, part) not in there)
    if len(systems) < 2:
        if others:
            what = "the same file" if isinstance(first, FileSource) else "the same candidate of"
            raise UsageError(
                f"one system: both sides are {what} {first.label or first.key}",
                where=VERB,
                expected="two or more runs or files",
            )
        raise UsageError("one system", where=VERB, expected="two or more runs or files", fix="safetycatch ls")
    baseline = systems[0][0].name(systems[0][1])
    return Arrangement(_distinct(systems), tuple((baseline, source.name(part)) for source, part in systems[1:]))


def _distinct(systems: Sequence[tuple[Source, str]]) -> tuple[tuple[Source, str], ...]:
    names = [source.name(part) for source, part in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two systems are called {twice[:80]!r}", where=VERB, fix="NAME=RUN or NAME=FILE names them")
    return tuple(systems)


def _open(first: Source, others: Sequence[Source]) -> UsageError:
    other = others[0]
    return UsageError(
        f"{first.label} and {other.label} leave open which candidates to compare",
        where=VERB,
        expected=f"{', '.join(first.parts)} and {', '.join(other.parts)}",
        fix=f"{VERB} {first.label}:{first.parts[0]} {other.label}" + (f":{other.parts[-1]}" if other.parts[-1] else ""),
    )


@dataclass(slots=True)
class Chosen:
    """The metric, which scores of each system are compared on it, and notes on that."""

    metric: Metric
    scores: dict[str, str]
    notes: list[str] = field(default_factory=list[str])


def chosen_metric(
    systems: Sequence[tuple[Source, str]], wanted: str | None, *, lower_is_better: bool = False
) -> Chosen:
    """Return the metric to compare on: the one named, else the first system's main one.

    Where a file comes first, whose name for its scores a run does not know, it is the run's main one.
    A file's main metric is compared with a run's whatever it is called, and a note says so.
    Raises: UsageError when a system has no such scores.
    """
    from safetycatch.results.comparing import Metric
    from safetycatch.results.matrix import WHOLE_SET
    from safetycatch.scoring import RESOURCE_UNITS

    first, part = systems[0]
    main, own = first.main, first.metrics(part)[0]
    if main is None and wanted is None and not lower_is_better:
        mains = (source.main for source, there in systems if source.main and own not in source.metrics(there))
        main = next(mains, None)
    name = wanted or (main.name if main else own)
    chosen = Chosen(main if main and main.name == name else Metric(name, rate=False), {})
    for source, own in systems:
        held = source.metrics(own)
        if name in held:
            chosen.scores[source.name(own)] = name
        elif isinstance(source, FileSource) and (wanted is None or len(held) == 1):
            chosen.scores[source.name(own)] = held[0]
            chosen.notes.append(f"{source.name(own)}: its {held[0]!r} is compared as {name}")
        else:
            raise UsageError(f"{source.name(own)} has no scores of {name[:80]!r}", expected=", ".join(held[:40]))
    if main is None or main.name != name:
        resource = name in RESOURCE_UNITS
        chosen.metric = Metric(
            name,
            RESOURCE_UNITS.get(name, "points"),
            higher_is_better=not (resource or lower_is_better),
            rate=not resource,
            corpus=first.main is not None and name in WHOLE_SET,
        )
    return chosen


def fitted(metric: Metric, sides: Sequence[Side]) -> tuple[Metric, list[str]]:
    """Return the metric as the values have it, a rate where all are 0 or 1, points within 0 to 1, else plain scores.

    A note tells that some systems stay within 0 to 1 and others do not: percentages beside fractions look so.
    """
    from dataclasses import replace

    import numpy as np

    seen = [side.values[~np.isnan(side.values)] for side in sides]
    bounded = [not values.size or bool(((values >= 0) & (values <= 1)).all()) for values in seen]
    rate = all(bool(np.isin(values, (0.0, 1.0)).all()) for values in seen)
    if metric.unit != "points" or metric.corpus:  # what an item contributes to F1 has no bounds
        return replace(metric, rate=metric.rate and rate and not metric.corpus), []
    notes: list[str] = []
    if not all(bounded):
        at = bounded.index(False)
        largest = float(np.abs(seen[at]).max())
        if any(bounded[other] and seen[other].size for other in range(len(sides))):
            inside = sides[bounded.index(True)].name
            notes.append(
                f"{sides[at].name} holds scores up to {largest:g}, {inside} none above 1: are they on one scale?"
            )
        return replace(metric, unit="score", rate=False), notes
    return replace(metric, rate=metric.rate and rate), notes
