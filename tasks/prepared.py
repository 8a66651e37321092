"""Everything that is known about a run before its first call is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch.identity import fingerprint
from safetycatch.tables import with_ids
from tasks.calling import read_table

if TYPE_CHECKING:
    from safetycatch.aggregate import AggregateSettings
    from safetycatch.catches import Finding
    from safetycatch.catches.estimate import Estimate
    from safetycatch.experiment import Experiment
    from safetycatch.settings import ShotSettings
    from safetycatch.store.looks import Look
    from tasks.stage import Place
    from tasks.start import Inputs

Ref = dict[str, Any]
ITEM = ("example_id", "input", "target")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Pool rows that a model is asked about without examples, to find which of them it is to be shown.

    `entry` is what is asked, without shots; `shots` are chosen afterwards, and take the place `at` among the shots of
    the run, where others stand in for them until then.
    """

    entry: dict[str, Any]
    ids: tuple[str, ...]
    at: int
    shots: ShotSettings


class Besides(NamedTuple):
    """Who is asked about scored items besides the candidates: `times` an item at most, of which a `share` is expected.

    `entry` points into the shots of the run.
    """

    entry: dict[str, Any]
    times: int
    share: float


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Candidates whose answers become one, as it stands before the first call.

    `dev_entries` point into `dev_shots`: what the members answer of `dev_ids`, for weights and ties (no ids: nothing,
    or what is scored anyway). `judge` is asked about ties. `records` are right, cast and answered votes by member in
    the stored run that weights are taken from, `overlap` the scored items which that run holds.
    """

    settings: AggregateSettings
    dev_entries: tuple[dict[str, Any], ...] = ()
    dev_shots: tuple[Ref, ...] = ()
    dev_ids: tuple[str, ...] = ()
    judge: dict[str, Any] | None = None
    records: dict[str, list[int]] | None = None
    overlap: tuple[str, ...] = ()
    n_dev: int = 0
    besides: tuple[Besides, ...] = ()


@dataclass(frozen=True, slots=True)
class Ladder:
    """A race to be run on dev: who races, on which items of which look of which rung, and how many go on.

    `entries` point into `shots`, those of dev rows. `keeps`: so many of the best go on after a rung, the baseline
    besides (None: no cap).
    """

    entries: tuple[dict[str, Any], ...]
    shots: tuple[Ref, ...]
    blocks: tuple[tuple[tuple[str, ...], ...], ...]
    keeps: tuple[int | None, ...]
    clusters: dict[str, str]
    largest_cluster: int
    metric: str


@dataclass(frozen=True, slots=True)
class Climbed:
    """How the race on dev ended.

    `entries` are the candidates for the scored split, `chosen` the one that the claim is about; `standing` has a row a
    candidate, the last ones first to leave. `n_asked` calls were made (or found in the journal), of `n_full` that every
    candidate's dev items would take; `returned` counts replies by models other than the one asked.
    """

    rungs: tuple[Ref, ...]
    entries: tuple[dict[str, Any], ...]
    chosen: str
    standing: tuple[dict[str, Any], ...]
    n_asked: int
    n_full: int
    cost_usd: float
    metric: str
    returned: dict[str, int]
    tokens: dict[str, int]
    failed: dict[str, tuple[int, int]]
    errors: dict[str, int]

    @property
    def saved_usd(self) -> float:
        """What the calls that were not made would have cost, at the mean price of those made, US dollars."""
        return self.cost_usd / self.n_asked * (self.n_full - self.n_asked) if self.n_asked else 0.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """The references, settings and findings of a run that is ready to send; `look` is the one it takes at test.

    `unrecorded`: of recorded answers, how many rows have none, and rows. `judging` says who judges and how, as
    `judging_entry` has it; None where no metric is a judge's.
    """

    place: Place
    inputs: Inputs
    examples: Ref
    splits: Ref
    leaks: Ref
    plan: Ref
    pool: Ref | None
    shots: tuple[Ref, ...]
    scored_split: str
    ids: tuple[str, ...]
    n_available: int
    task: str
    task_reason: str
    labels: tuple[str, ...]
    scorers: tuple[str, ...]
    entries: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...] = ()
    estimate: Estimate | None = field(default=None, kw_only=True)
    look: Look | None = field(default=None, kw_only=True)
    notes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ladder: Ladder | None = None
    bootstraps: tuple[Bootstrap, ...] = field(default=(), kw_only=True)
    ensemble: Ensemble | None = field(default=None, kw_only=True)
    unrecorded: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]], kw_only=True)
    judging: dict[str, Any] | None = field(default=None, kw_only=True)

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.inputs.experiment

    def items_key(self) -> str:
        """Fingerprint of the scored items and their content: runs that share it competed on the same ground."""
        table = with_ids(read_table(self.place, self.examples), self.ids)
        return fingerprint(sorted(zip(*(table[name].to_pylist() for name in ITEM), strict=True)))

    @property
    def ensemble_ids(self) -> tuple[str, ...]:
        """The ensemble's name among the scored candidates; () without one."""
        return (self.ensemble.settings.id,) if self.ensemble else ()

    def ensemble_keys(self) -> list[str]:
        """Fingerprint of the ensemble: other members, rule or judge are another candidate; [] without one."""
        made = self.ensemble
        if made is None:
            return []
        keys = dict(zip((entry["candidate"]["id"] for entry in self.entries), self.candidate_keys(), strict=True))
        rule = made.settings.model_dump(mode="json", exclude={"id", "members"})
        judge = candidate_key(made.judge) if made.judge else ""
        return [fingerprint(rule, judge, sorted(keys[name] for name in made.settings.members))]

    @property
    def names(self) -> tuple[str, ...]:
        """Who is scored, in the order of `candidate_keys` and `ensemble_keys`."""
        return (*(entry["candidate"]["id"] for entry in self.entries), *self.ensemble_ids)

    def candidate_keys(self) -> list[str]:
        """Fingerprints of what was tried: a changed prompt or function is another candidate."""
        return [candidate_key(entry) for entry in self.entries]


def candidate_key(entry: dict[str, Any]) -> str:
    """Return the fingerprint of one who answers, its prompt's text and its function's source included."""
    own = ("candidate", "prompt_text", "source_sha256", "endpoint", "max_tokens")
    return fingerprint({name: entry[name] for name in own})
